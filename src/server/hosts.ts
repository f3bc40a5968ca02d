import type { FastifyReply, FastifyRequest } from 'fastify';

export interface HostRules {
  /** Names under which the server is reached besides loopback: `host` for any port, or `host:port`. */
  allowedHosts: readonly string[];
  /** Web pages of other servers that may use this one from a browser, such as `https://chat.example.com`. */
  allowedOrigins: readonly string[];
}

const loopbackHosts = ['localhost', '127.0.0.1', '[::1]'];

/**
 * A hook for all requests that keeps hostile web pages out: those that send requests across origins, and those whose
 * name was rebound to our address. Pages of `allowedOrigins` may also read answers (CORS); other pages on loopback
 * pass, but their browser keeps the answers from them. Has to run before anybody is asked for a token.
 */
export function checkHostAndOrigin({ allowedHosts, allowedOrigins }: HostRules) {
  const hosts = new Set([...loopbackHosts, ...allowedHosts].map((host) => host.toLowerCase()));
  const origins = new Set(allowedOrigins.map(normalizeOrigin));

  // Not async: it runs for every request, and a promise costs more than all that it does.
  return (request: FastifyRequest, reply: FastifyReply, done: () => void) => {
    const { host = '', origin } = request.headers;
    if (!isAllowedHost(host, hosts)) {
      const next = 'Use localhost, or add the name to the allowed hosts of the server.';
      forbid(reply, 'forbidden_host', `This server does not answer to the name "${short(host)}". ${next}`);
      return;
    }
    if (origin === undefined) return done();
    // Sandboxed frames and local files say null, and anybody can make one.
    const isListed = origin !== 'null' && origins.has(normalizeOrigin(origin));
    if (!isListed && !isOwnOrLoopback(origin, host)) {
      const next = 'Add it to the allowed origins of the server if it may.';
      forbid(reply, 'forbidden_origin', `The web page ${short(origin)} may not use this server. ${next}`);
      return;
    }
    if (!isListed) return done();
    allowReading(reply, origin);
    const isPreflight = request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined;
    if (isPreflight) answerPreflight(request, reply);
    else done();
  };
}

function isAllowedHost(host: string, allowed: ReadonlySet<string>): boolean {
  const [, name] = /^(\[[0-9a-f:.]+\]|[^\s:@/\\?#[\]]+)(?::\d{1,5})?$/i.exec(host) ?? [];
  return name !== undefined && (allowed.has(name.toLowerCase()) || allowed.has(host.toLowerCase()));
}

/** The page is our own (its host passed the check of hosts), or was served by this machine. */
function isOwnOrLoopback(origin: string, ownHost: string): boolean {
  if (!/^https?:\/\/[^/]+$/i.test(origin) || !URL.canParse(origin)) return false;
  const { hostname, host } = new URL(origin);
  return loopbackHosts.includes(hostname) || host === ownHost.toLowerCase();
}

/** Origins of browser extensions and the like have no form of their own, and are compared as they are. */
function normalizeOrigin(origin: string): string {
  const parsed = URL.canParse(origin) ? new URL(origin).origin : 'null';
  return parsed === 'null' ? origin.toLowerCase() : parsed;
}

function allowReading(reply: FastifyReply, origin: string): void {
  reply.headers({
    'access-control-allow-origin': origin,
    'access-control-expose-headers': 'mcp-session-id, x-request-id, retry-after, *',
    vary: 'Origin',
  });
}

function answerPreflight(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const asked = request.headers['access-control-request-headers'];
  reply.headers({ 'access-control-allow-methods': 'GET, POST, DELETE', 'access-control-max-age': '600' });
  if (asked !== undefined) reply.header('access-control-allow-headers', asked);
  return reply.code(204).send();
}

function forbid(reply: FastifyReply, code: 'forbidden_host' | 'forbidden_origin', message: string): FastifyReply {
  return reply.code(403).send({ error: { message, type: 'forbidden', code, param: null } });
}

function short(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}
