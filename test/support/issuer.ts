import fastify from 'fastify';
import { type CryptoKey, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { onTestFinished } from 'vitest';

export interface Issuer {
  url: string;
  audience: string;
  jwksUri: string;
  /** How often its keys were asked for. */
  jwksReads: number;
  /** An access token that is right; `claims` and `header` change it, undefined takes a claim away. */
  issue(claims?: JWTPayload, header?: { alg?: string; kid?: string; key?: CryptoKey | Uint8Array }): Promise<string>;
  close(): Promise<void>;
}

export interface IssuerOptions {
  /** Behind the host, such as `/tenant`. */
  path?: string;
  metadata?: 'oauth' | 'openid' | 'none';
  /** What its metadata says it is. */
  claims?: { issuer?: string; jwks_uri?: string };
  algorithm?: string;
}

/** A tiny authorization server on loopback: metadata and keys, no login. */
export async function startIssuer({
  path = '',
  metadata = 'oauth',
  claims: said = {},
  algorithm = 'ES256',
}: IssuerOptions = {}): Promise<Issuer> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm);
  const key = { ...(await exportJWK(publicKey)), kid: 'one', alg: algorithm, use: 'sig' };
  const app = fastify({ forceCloseConnections: true });
  const address = await new Promise<string>((resolve, reject) => {
    const document = () => ({ issuer: issuer.url, jwks_uri: issuer.jwksUri, ...said });
    if (metadata === 'oauth') app.get(`/.well-known/oauth-authorization-server${path}`, async () => document());
    if (metadata === 'openid') app.get(`${path}/.well-known/openid-configuration`, async () => document());
    app.get(`${path}/keys`, async () => {
      issuer.jwksReads += 1;
      return { keys: [key] };
    });
    app.listen({ host: '127.0.0.1', port: 0 }).then(resolve, reject);
  });
  const issuer: Issuer = {
    url: address + path,
    audience: 'https://tandem.example.com/mcp',
    jwksUri: `${address}${path}/keys`,
    jwksReads: 0,
    async issue(claims = {}, header = {}) {
      const nowSeconds = Math.floor(Date.now() / 1000);
      return new SignJWT({
        iss: issuer.url,
        aud: issuer.audience,
        sub: 'ada',
        scope: 'openid infer read',
        iat: nowSeconds,
        exp: nowSeconds + 600,
        ...claims,
      })
        .setProtectedHeader({ alg: header.alg ?? algorithm, kid: header.kid ?? 'one', typ: 'at+jwt' })
        .sign(header.key ?? privateKey);
    },
    close: () => app.close(),
  };
  onTestFinished(() => app.close());
  return issuer;
}
