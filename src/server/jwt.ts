import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify } from 'jose';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { OAuthConfig } from '../config/index.ts';
import { isSafeUrl } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import { type Principal, scopes } from '../principal.ts';

/** Signatures with public keys only: with HS* whoever knows a public key could sign, and `none` is no signature. */
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
const clockToleranceSeconds = 30;
const longestJwt = 16_384;
const longestName = 200;
const timeoutMs = 5_000;
/** After a failure the issuer is left alone for so long. */
const pauseMs = 5_000;

/** Of the ids of principals that come with access tokens. */
export const subjectPrefix = 'oauth:';

type Keys = ReturnType<typeof createRemoteJWKSet>;

export function looksLikeJwt(bearer: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(bearer);
}

/** Checks access tokens of one issuer for one audience. */
export class JwtVerifier {
  readonly #oauth: OAuthConfig;
  readonly #clock: Clock;
  #keys: Promise<Keys> | null = null;
  #failedAtMs = Number.NEGATIVE_INFINITY;

  constructor(oauth: OAuthConfig, clock: Clock) {
    this.#oauth = oauth;
    this.#clock = clock;
  }

  /** Throws `unauthorized`, or `upstream_unavailable` when the issuer cannot be asked for its keys. */
  async verify(jwt: string): Promise<Principal> {
    if (jwt.length > longestJwt) throw refusal('is too long');
    const keys = await this.#findKeys();
    if (keys.jwks() === undefined) this.#requirePause();
    try {
      const { payload } = await jwtVerify(jwt, keys, {
        issuer: this.#oauth.issuer,
        audience: this.#oauth.audience,
        algorithms,
        requiredClaims: ['exp', 'sub'],
        clockTolerance: clockToleranceSeconds,
        currentDate: new Date(this.#clock.nowMs()),
      });
      return toPrincipal(payload);
    } catch (error) {
      const explained = this.#explain(error);
      if (explained.code === 'upstream_unavailable') this.#failedAtMs = this.#clock.nowMs();
      throw explained;
    }
  }

  /** The metadata is read once, when the first access token comes: the issuer need not be up before this server. */
  async #findKeys(): Promise<Keys> {
    if (this.#keys === null) this.#requirePause();
    this.#keys ??= (async () => {
      const uri = this.#oauth.jwksUri ?? (await this.#discover());
      return createRemoteJWKSet(new URL(uri), { timeoutDuration: timeoutMs });
    })();
    try {
      return await this.#keys;
    } catch (error) {
      this.#keys = null;
      this.#failedAtMs = this.#clock.nowMs();
      throw error;
    }
  }

  #requirePause(): void {
    if (this.#clock.nowMs() - this.#failedAtMs < pauseMs) throw this.#unavailable('it did not answer a moment ago');
  }

  /** RFC 8414 puts the well-known part between host and path, OpenID Connect after the path. */
  async #discover(): Promise<string> {
    const { issuer } = this.#oauth;
    const { origin, pathname } = new URL(issuer);
    const path = pathname.replace(/\/$/, '');
    const addresses = [
      `${origin}/.well-known/oauth-authorization-server${path}`,
      `${origin}${path}/.well-known/openid-configuration`,
    ];
    const problems: string[] = [];
    for (const address of addresses) {
      try {
        const response = await fetch(address, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs) });
        if (response.status !== 200) throw new Error(`HTTP ${response.status}`);
        const metadata = metadataSchema.parse(await response.json());
        if (metadata.issuer === issuer) return metadata.jwks_uri;
        problems.push(`${address} speaks for another issuer`);
      } catch (error) {
        const reason = error instanceof z.ZodError ? 'not the metadata of an issuer' : String(error);
        problems.push(`${address}: ${reason}`);
      }
    }
    throw this.#unavailable(problems.join('; '));
  }

  #unavailable(reason: string, cause?: unknown): AppError {
    return new AppError('upstream_unavailable', `The keys of ${this.#oauth.issuer} could not be read: ${reason}.`, {
      next: 'Try again in a moment; if it stays, check server.oauth in tandem.yaml.',
      cause,
    });
  }

  #explain(error: unknown): AppError {
    if (error instanceof AppError) return error;
    if (error instanceof errors.JWTExpired) return refusal('has expired');
    if (error instanceof errors.JWTClaimValidationFailed) return refusal(`has a wrong or missing "${error.claim}"`);
    if (error instanceof errors.JOSEAlgNotAllowed) return refusal('is signed in a way that is not allowed');
    if (error instanceof errors.JWSSignatureVerificationFailed) return refusal('has a wrong signature');
    if (error instanceof errors.JWKSNoMatchingKey) return refusal('is signed with a key that the issuer does not have');
    if (isAboutKeySet(error)) return this.#unavailable(error instanceof Error ? error.message : String(error), error);
    return refusal('cannot be read');
  }
}

const metadataSchema = z.object({
  issuer: z.string(),
  jwks_uri: z.string().refine(isSafeUrl),
});

/** jose throws its base class for an answer that is no key set, and passes on what `fetch` throws. */
function isAboutKeySet(error: unknown): boolean {
  if (!(error instanceof errors.JOSEError)) return true;
  return error.code === 'ERR_JOSE_GENERIC' || ['ERR_JWKS_TIMEOUT', 'ERR_JWKS_INVALID'].includes(error.code);
}

function toPrincipal(payload: JWTPayload): Principal {
  const { sub = '' } = payload;
  if (!isPlain(sub)) throw refusal('has a "sub" that is no plain text');
  const given = [payload.scope, payload.scp].flatMap(wordsOf);
  const name = [payload.preferred_username, payload.email].find(isPlain) ?? sub;
  return {
    id: subjectPrefix + sub,
    name,
    scopes: new Set(scopes.filter((scope) => given.includes(scope))),
    budget: null,
    requestsPerMinute: null,
  };
}

/** `scope` is a text with spaces (RFC 9068); some issuers write `scp`, a text or a list. */
function wordsOf(claim: unknown): unknown[] {
  if (typeof claim === 'string') return claim.split(' ');
  return Array.isArray(claim) ? claim : [];
}

/** It stands in tables and logs: one line, and not without end. */
function isPlain(text: unknown): text is string {
  return typeof text === 'string' && text !== '' && text.length <= longestName && !/\p{C}/u.test(text);
}

function refusal(what: string): AppError {
  return new AppError('unauthorized', `The access token ${what}.`, {
    next: 'Get a new one from the authorization server, for this server and with the scopes that are needed.',
  });
}
