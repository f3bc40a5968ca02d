import { RateLimiterMemory } from 'rate-limiter-flexible';
import { AppError } from '../errors.ts';
import { isLoopback } from '../http.ts';
import { localPrincipal, type Principal } from '../principal.ts';
import { type RefusedBecause, secretPrefix, type TokenBook } from '../usage/tokens.ts';
import { GuessLimiter } from './guesses.ts';
import { type JwtVerifier, looksLikeJwt, subjectPrefix } from './jwt.ts';

const createToken = 'tandem token create --name NAME --scope infer';

/** What a request says about who sends it. */
export interface Caller {
  authorization: string | undefined;
  /** As the connection has it; as a proxy has it only where that proxy is trusted. */
  ip: string;
  /** The headers of these names. They matter while the server is open. */
  host?: string | undefined;
  origin?: string | undefined;
  /** Proxies say in some header for whom they come. */
  isForwarded?: boolean;
}

export interface AccessParts {
  tokens: TokenBook;
  oauth: JwtVerifier | null;
  /** Where the server listens. */
  host: string;
}

/**
 * Decides who a caller is. On loopback and before any token was made the door is open and everybody is the owner;
 * otherwise a bearer is needed: a token, or an access token where OAuth is configured.
 */
export class Access {
  readonly #parts: AccessParts;
  readonly #guesses = new GuessLimiter();
  /** Counts only; the limit is the token's. Its keys are ids of live tokens, so there are few. */
  readonly #requests = new RateLimiterMemory({ points: 1, duration: 60 });

  constructor(parts: AccessParts) {
    this.#parts = parts;
  }

  /** Throws `unauthorized`, `forbidden`, or `rate_limited` with `retryAfterMs`. */
  async authenticate(caller: Caller): Promise<Principal> {
    const bearer = /^Bearer +(\S+) *$/i.exec(caller.authorization ?? '')?.[1];
    // Clients of OpenAI send some key always. One of ours says that its sender does not expect an open door.
    if (!bearer?.startsWith(secretPrefix) && (await this.#isOpen())) return owner(caller);
    if (bearer === undefined) throw refusal('This server wants to know who asks.');
    const principal = await this.#holderOf(bearer, caller.ip);
    await this.#requireRate(principal);
    return principal;
  }

  /** Whether who was let in before still would be. An access token says itself when it ends, with each request. */
  async mayStay({ id }: Principal): Promise<boolean> {
    const { tokens, oauth } = this.#parts;
    if (id === localPrincipal.id) return this.#isOpen();
    return (oauth !== null && id.startsWith(subjectPrefix)) || tokens.isLive(id);
  }

  /** Tokens that ended do not open the door again: time must not change who may come in. */
  async #isOpen(): Promise<boolean> {
    const { tokens, oauth, host } = this.#parts;
    return oauth === null && isLoopback(host) && !(await tokens.hasAny());
  }

  /**
   * A right token is let in also from an address that has guessed too often: guessing 256 bits or a signature is
   * hopeless, and behind one address, such as a proxy's, there may be many.
   */
  async #holderOf(bearer: string, ip: string): Promise<Principal> {
    const { tokens, oauth } = this.#parts;
    if (oauth && looksLikeJwt(bearer)) {
      try {
        return await oauth.verify(bearer);
      } catch (error) {
        if (error instanceof AppError && error.code === 'unauthorized') requireNoWait(await this.#guesses.count(ip));
        throw error;
      }
    }
    const authentication = await tokens.authenticate(bearer);
    if ('principal' in authentication) return authentication.principal;
    requireNoWait(await this.#guesses.count(ip));
    throw refusal(reasons[authentication.refused]);
  }

  async #requireRate({ id, name, requestsPerMinute }: Principal): Promise<void> {
    if (requestsPerMinute === null) return;
    const { consumedPoints, msBeforeNext } = await this.#requests.penalty(id);
    if (consumedPoints <= requestsPerMinute) return;
    throw new AppError('rate_limited', `"${name}" may ask ${requestsPerMinute} times a minute, and has.`, {
      next: `Try again in ${Math.ceil(msBeforeNext / 1000)} s.`,
      retryAfterMs: msBeforeNext,
    });
  }
}

const reasons: Record<RefusedBecause, string> = {
  malformed: 'The bearer has not the form of a token.',
  unknown: 'The token is not known here.',
  revoked: 'The token was revoked.',
  expired: 'The token has expired.',
};

function refusal(message: string): AppError {
  return new AppError('unauthorized', message, {
    next: `Send the header "Authorization: Bearer ${secretPrefix}..."; a token is made by: ${createToken}`,
  });
}

function requireNoWait(waitMs: number | null): void {
  if (waitMs === null) return;
  throw new AppError('rate_limited', 'Too many wrong tokens came from this address.', {
    next: `Try again in ${Math.ceil(waitMs / 1000)} s, with a token that is right.`,
    retryAfterMs: waitMs,
  });
}

/**
 * An open door on loopback is for programs on this machine. A web page that the owner looks at, or a name that was
 * made to lead here (DNS rebinding), comes through the owner's browser and is not the owner.
 */
function owner({ host, origin, isForwarded }: Caller): Principal {
  if (isForwarded)
    throw new AppError('forbidden', 'This request came through a proxy, and anybody may be behind it.', {
      next: `Without tokens only programs on this machine are served. For others make a token: ${createToken}`,
    });
  for (const [header, value] of Object.entries({ Host: host && `http://${host}`, Origin: origin })) {
    if (value === undefined || isThisMachine(value)) continue;
    throw new AppError('forbidden', `The ${header} of this request is not this machine.`, {
      next: `Without tokens only programs on this machine are served, by its loopback address. For others make a token: ${createToken}`,
    });
  }
  return localPrincipal;
}

/** The few addresses that requests come to, as they were judged: parsing URLs is dear for every request. */
const judged = new Map<string, boolean>();
const mostJudged = 100;

function isThisMachine(url: string): boolean {
  const known = judged.get(url);
  if (known !== undefined) return known;
  const verdict = URL.canParse(url) && isLoopback(new URL(url).hostname);
  if (judged.size >= mostJudged) judged.clear();
  judged.set(url, verdict);
  return verdict;
}

/** Throws `config_invalid` when anybody on the network could come in, and says what to do. Called before listening. */
export function requireSafeBinding({ host, hasTokens, oauth }: { host: string; hasTokens: boolean; oauth: boolean }) {
  if (isLoopback(host) || hasTokens || oauth) return;
  throw new AppError(
    'config_invalid',
    `On ${host || 'all addresses'} others can reach this server, and there is no token.`,
    {
      next: `Make one: ${createToken}\nor listen on 127.0.0.1, or configure server.oauth in tandem.yaml.`,
    },
  );
}
