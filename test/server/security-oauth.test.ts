import { generateKeyPair } from 'jose';
import { describe, expect, it } from 'vitest';
import { asJson, initialize, startGuarded } from '../support/callers.ts';
import { type Issuer, type IssuerOptions, startIssuer } from '../support/issuer.ts';

async function startWithIssuer(options: IssuerOptions & { jwksUri?: (issuer: Issuer) => string } = {}) {
  const issuer = await startIssuer(options);
  const { url, audience } = issuer;
  const jwksUri = options.jwksUri?.(issuer);
  const gateway = await startGuarded({
    rest: { server: { oauth: { issuer: url, audience, ...(jwksUri && { jwksUri }) } } },
  });
  const bearer = (jwt: string) => ({ authorization: `Bearer ${jwt}` });
  const enter = (jwt: string) => gateway.ask('POST', '/mcp', { ...asJson, ...bearer(jwt) }, initialize);
  return { issuer, gateway, bearer, enter };
}

const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('a server with OAuth', () => {
  it('leads a client without a token to the issuer', async () => {
    const { gateway, issuer } = await startWithIssuer();
    const { status, headers } = await gateway.ask('POST', '/mcp', asJson, initialize);
    expect(status).toBe(401);
    const [, address = ''] = /^Bearer resource_metadata="([^"]+)"$/.exec(String(headers['www-authenticate'])) ?? [];
    const document = await gateway.ask('GET', new URL(address).pathname);
    expect(JSON.parse(document.text)).toMatchObject({
      resource: issuer.audience,
      authorization_servers: [issuer.url],
      scopes_supported: ['infer', 'read', 'operate'],
    });
  });

  it('gives each access token the tools and routes of its scopes', async () => {
    const { gateway, issuer, bearer } = await startWithIssuer();
    const infer = bearer(await issuer.issue({ scope: 'infer' }));
    const session = await gateway.openMcp(infer);
    const tools = (await gateway.rpc(session, 'tools/list')).result.tools as { name: string }[];
    expect(tools.map(({ name }) => name).toSorted()).toEqual(['complete', 'rate_response', 'route_explain']);
    expect((await gateway.callTool(session, 'complete', { prompt: 'Hi' })).result.isError).toBeFalsy();
    const refused = await gateway.ask('GET', '/metrics', infer);
    expect(refused.status).toBe(403);
    expect(refused.headers['www-authenticate']).toContain('error="insufficient_scope", scope="read"');
    const [row] = await gateway.settled(1);
    expect(row?.principal_id).toBe('oauth:ada');
  });

  it('lets in nobody with a token that is forged, over or for others', async () => {
    const { gateway, issuer, enter } = await startWithIssuer();
    const { privateKey } = await generateKeyPair('ES256');
    const nowSeconds = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer.url, aud: issuer.audience, sub: 'ada', exp: nowSeconds + 600, scope: 'operate' };
    const publicKeys = new TextEncoder().encode(await (await fetch(issuer.jwksUri)).text());
    const jwts = {
      unsigned: `${base64({ alg: 'none' })}.${base64(claims)}.`,
      'unsigned, spelled otherwise': `${base64({ alg: 'NoNe', kid: 'one' })}.${base64(claims)}.AAAA`,
      'signed with the public key': await issuer.issue({}, { alg: 'HS256', key: publicKeys }),
      'signed with another key': await issuer.issue({}, { key: privateKey }),
      'with keys of its own': `${base64({ alg: 'ES256', jku: `${issuer.url}/keys`, jwk: {} })}.${base64(claims)}.AAAA`,
      'for others': await issuer.issue({ aud: 'https://other.example' }),
      'of others': await issuer.issue({ iss: 'https://evil.example' }),
      over: await issuer.issue({ exp: nowSeconds - 60 }),
      'to come': await issuer.issue({ nbf: nowSeconds + 600 }),
    };
    for (const [what, jwt] of Object.entries(jwts)) {
      const { status, headers, text } = await enter(jwt);
      expect({ what, status }).toEqual({ what, status: 401 });
      expect(headers['www-authenticate']).toContain('error="invalid_token"');
      expect(text).not.toContain(jwt);
    }
    const { status } = await gateway.ask('GET', `/metrics?access_token=${await issuer.issue({ scope: 'read' })}`);
    expect(status).toBe(401);
  });

  it('asks the issuer no more often for a flood of tokens with keys that do not exist', async () => {
    const { issuer, enter } = await startWithIssuer();
    expect((await enter(await issuer.issue())).status).toBe(200);
    const flood = await Promise.all(Array.from({ length: 50 }, (_, index) => issuer.issue({}, { kid: `k${index}` })));
    const statuses = (await Promise.all(flood.map(enter))).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([401, 429]));
    expect(issuer.jwksReads).toBeLessThanOrEqual(2);
    // And who is right comes in all the while, from the same address.
    expect((await enter(await issuer.issue())).status).toBe(200);
  });

  it('says that it is the issuer that is down, once it is, and serves its own tokens meanwhile', async () => {
    const { issuer, gateway, enter } = await startWithIssuer({ jwksUri: ({ jwksUri }) => jwksUri });
    const jwt = await issuer.issue();
    await issuer.close();
    const answers = await Promise.all(Array.from({ length: 20 }, () => enter(jwt)));
    for (const { status, headers } of answers) {
      expect(status).toBe(502);
      expect(headers).not.toHaveProperty('www-authenticate');
    }
    const { headers } = await gateway.holder(['infer']);
    await gateway.openMcp(headers);
  });
});
