import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Principal } from '../principal.ts';

export interface SessionLimits {
  /** Sessions at a time. */
  sessions: number;
  sessionsPerPrincipal: number;
  /** A session without an open stream or request for so long is closed. */
  idleMs: number;
}

/** A session idle for so long may be taken from its principal, for another one of the same principal. */
const leftBehindMs = 60_000;
/** How often it is asked whether principals may still be here; with what that rests on, within five seconds. */
const recheckMs = 1_500;

/** A client's connection as the registry sees it. */
export interface SessionEntry<Connection> {
  readonly id: string;
  readonly principal: Principal;
  readonly connection: Connection;
  /** Ends what runs in it. */
  close(): Promise<void>;
}

interface Known<Connection> extends SessionEntry<Connection> {
  openStreams: number;
  idleSinceMs: number;
}

/** Why there is no room for another session, and when there may be. */
export interface Full {
  reason: string;
  retryAfterSeconds: number;
}

/** The open sessions of all clients: whose they are, how many there may be, and when they are forgotten. */
export class McpSessions<Connection> {
  readonly #limits: SessionLimits;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #known = new Map<string, Known<Connection>>();
  readonly #stopped = new AbortController();

  constructor(limits: SessionLimits, clock: Clock, log: Log) {
    this.#limits = limits;
    this.#clock = clock;
    this.#log = log;
  }

  get size(): number {
    return this.#known.size;
  }

  /** Null when this principal may open another session. Add it at once, before others ask. */
  fullFor(principal: Principal): Full | null {
    if (this.#stopped.signal.aborted) return { reason: 'Tandem is stopping.', retryAfterSeconds: 5 };
    this.expire();
    const { sessions, sessionsPerPrincipal } = this.#limits;
    const all = [...this.#known.values()];
    const own = all.filter((known) => known.principal.id === principal.id);
    if (own.length >= sessionsPerPrincipal && !this.#endLeftBehind(own))
      return { reason: `You have ${sessionsPerPrincipal} MCP sessions open.`, ...this.#nextRoom(own) };
    if (all.length >= sessions) return { reason: `All ${sessions} MCP sessions are taken.`, ...this.#nextRoom(all) };
    return null;
  }

  add(entry: SessionEntry<Connection>): void {
    this.#known.set(entry.id, { ...entry, openStreams: 0, idleSinceMs: this.#clock.nowMs() });
    this.#log.debug({ principal: entry.principal.id, sessions: this.size }, 'an MCP session was opened');
  }

  /**
   * Undefined as well when it has expired or is somebody else's: nobody learns which ids exist. It keeps the scopes
   * with which it began, so who comes with others, such as a later access token has, needs a session of their own.
   */
  find(id: string, principal: Principal): SessionEntry<Connection> | undefined {
    this.expire();
    const known = this.#known.get(id);
    return known && isSame(known.principal, principal) ? known : undefined;
  }

  /** Counts a request or stream as open; call what it returns when it is over. */
  hold(id: string): () => void {
    const known = this.#known.get(id);
    if (!known) return () => undefined;
    known.openStreams += 1;
    return () => {
      known.openStreams -= 1;
      known.idleSinceMs = this.#clock.nowMs();
    };
  }

  /** For a session that ended by itself. */
  forget(id: string): void {
    if (this.#known.delete(id)) this.#log.debug({ sessions: this.size }, 'an MCP session was closed');
  }

  /** Closes what nobody has used for too long. Does not wait for it. */
  expire(): void {
    const now = this.#clock.nowMs();
    for (const known of this.#known.values()) {
      if (known.openStreams > 0 || now - known.idleSinceMs < this.#limits.idleMs) continue;
      this.#log.info({ principal: known.principal.id }, 'an idle MCP session was closed');
      void this.#end(known);
    }
  }

  /**
   * Until `closeAll`: forgets idle sessions also when nobody asks for any, and ends those of principals who may not be
   * here any more. Nobody asks for them either, but what runs in them goes on, and so do their streams.
   */
  async watch(mayStay: (principal: Principal) => Promise<boolean>): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      try {
        await this.#clock.sleep(recheckMs, signal);
      } catch {
        return;
      }
      this.expire();
      await this.#endUnwelcome(mayStay);
    }
  }

  async closeAll(): Promise<void> {
    this.#stopped.abort();
    await Promise.all([...this.#known.values()].map((known) => this.#end(known)));
  }

  async #endUnwelcome(mayStay: (principal: Principal) => Promise<boolean>): Promise<void> {
    for (const known of [...this.#known.values()]) {
      try {
        if (await mayStay(known.principal)) continue;
      } catch (error) {
        this.#log.warn({ error }, 'could not find out whether MCP sessions may go on');
        return;
      }
      this.#log.info({ principal: known.principal.id }, 'an MCP session was closed: its token holds no longer');
      void this.#end(known);
    }
  }

  async #end(known: Known<Connection>): Promise<void> {
    this.forget(known.id);
    try {
      await known.close();
    } catch (error) {
      this.#log.error({ error }, 'an MCP session could not be closed cleanly');
    }
  }

  /** Many clients leave without a word. Of these sessions, all of one principal, the one idle longest makes room. */
  #endLeftBehind(own: readonly Known<Connection>[]): boolean {
    const idle = own.filter(({ openStreams }) => openStreams === 0);
    const [oldest] = idle.toSorted((one, other) => one.idleSinceMs - other.idleSinceMs);
    if (!oldest || this.#clock.nowMs() - oldest.idleSinceMs < leftBehindMs) return false;
    void this.#end(oldest);
    return true;
  }

  #nextRoom(sessions: readonly Known<Connection>[]): { retryAfterSeconds: number } {
    const idleSince = sessions.filter(({ openStreams }) => openStreams === 0).map(({ idleSinceMs }) => idleSinceMs);
    const waitMs = Math.min(60_000, ...idleSince.map((since) => since + this.#limits.idleMs - this.#clock.nowMs()));
    return { retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1_000)) };
  }
}

function isSame(one: Principal, other: Principal): boolean {
  const isAsWide = one.scopes.size === other.scopes.size && [...one.scopes].every((scope) => other.scopes.has(scope));
  return one.id === other.id && isAsWide;
}
