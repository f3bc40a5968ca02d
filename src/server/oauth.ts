import type { FastifyPluginAsync } from 'fastify';
import type { OAuthConfig } from '../config/index.ts';
import { isHttpUrl } from '../config/schema.ts';
import type { AppError } from '../errors.ts';
import { scopes } from '../principal.ts';

const wellKnown = '/.well-known/oauth-protected-resource';
const mcpPath = '/mcp';

/** How the request reached this server: `https`, and `tandem.example.com:8443`. */
export interface Reached {
  protocol: string;
  host: string;
}

/** Tells clients who issues access tokens for this server (RFC 9728). */
export const protectedResource: FastifyPluginAsync<{ oauth: OAuthConfig }> = async (server, { oauth }) => {
  const paths = new Set(['', mcpPath, pathOf(oauth.audience)]);
  for (const path of paths) {
    server.get(wellKnown + path, async ({ protocol, host }) => ({
      resource: isHttpUrl(oauth.audience) ? oauth.audience : `${protocol}://${host}${path}`,
      authorization_servers: [oauth.issuer],
      scopes_supported: scopes,
      bearer_methods_supported: ['header'],
      resource_name: 'Tandem',
    }));
  }
};

/**
 * The `WWW-Authenticate` header that belongs to a 401 or 403, or null. `bearer`: whether the request came with one;
 * RFC 6750 keeps `error` for those.
 */
export function challengeFor(
  error: AppError,
  { oauth, bearer, reached }: { oauth: OAuthConfig | null; bearer: boolean; reached: Reached },
): string | null {
  // A provider's refusal of our key is no word about the caller's: clients would throw theirs away.
  if (error.httpStatus !== undefined) return null;
  const isMissingScope = error.code === 'forbidden' && error.scope !== undefined;
  if (error.code !== 'unauthorized' && !isMissingScope) return null;
  const facts = {
    error: isMissingScope ? 'insufficient_scope' : bearer ? 'invalid_token' : undefined,
    scope: error.scope,
    resource_metadata: oauth ? metadataUrl(oauth, reached) : undefined,
  };
  const given = Object.entries(facts).filter(([, value]) => value !== undefined);
  return ['Bearer', given.map(([name, value]) => `${name}="${value}"`).join(', ')].join(' ').trim();
}

/** Where the metadata is: under the public name where that is known, since a proxy may stand before this server. */
function metadataUrl({ audience }: OAuthConfig, { protocol, host }: Reached): string {
  if (isHttpUrl(audience)) return new URL(audience).origin + wellKnown + pathOf(audience);
  return `${protocol}://${host}${wellKnown}${mcpPath}`;
}

function pathOf(audience: string): string {
  return isHttpUrl(audience) ? new URL(audience).pathname.replace(/\/$/, '') : '';
}
