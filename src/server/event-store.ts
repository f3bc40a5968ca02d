/** What one session may keep for clients that come back. */
export interface EventLimits {
  events: number;
  bytes: number;
}

interface KeptEvent<Message> {
  streamId: string;
  message: Message;
  bytes: number;
}

/**
 * The events of one session, in memory, so that a client that lost a stream can ask for the rest of it. The oldest
 * are forgotten first. Has the shape of the SDK's `EventStore`.
 */
export class EventStore<Message extends object> {
  readonly #limits: EventLimits;
  readonly #kept = new Map<number, KeptEvent<Message>>();
  #keptBytes = 0;
  #lastId = 0;

  constructor(limits: EventLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#kept.size;
  }

  /** Returns the id under which the client may ask for what came after. */
  async storeEvent(streamId: string, message: Message): Promise<string> {
    const id = ++this.#lastId;
    const bytes = Buffer.byteLength(JSON.stringify(message));
    this.#kept.set(id, { streamId, message, bytes });
    this.#keptBytes += bytes;
    for (const [oldId, old] of this.#kept) {
      if (this.#kept.size <= this.#limits.events && this.#keptBytes <= this.#limits.bytes) break;
      this.#kept.delete(oldId);
      this.#keptBytes -= old.bytes;
    }
    return String(id);
  }

  /** Undefined for an event that never was or is forgotten: something after it may be forgotten too. */
  async getStreamIdForEventId(eventId: string): Promise<string | undefined> {
    return this.#kept.get(Number(eventId))?.streamId;
  }

  /** Sends what its stream had after this event, and returns the stream's id. */
  async replayEventsAfter(
    lastEventId: string,
    { send }: { send: (eventId: string, message: Message) => Promise<void> },
  ): Promise<string> {
    const streamId = await this.getStreamIdForEventId(lastEventId);
    if (streamId === undefined) throw new Error('The event is not kept any more.');
    for (const { id, message } of this.#after(lastEventId, streamId)) await send(id, message);
    return streamId;
  }

  /** What a stream that is over had after this event; null while its answer is still to come, or none is known. */
  restOfEndedStream(lastEventId: string): { id: string; message: Message }[] | null {
    const streamId = this.#kept.get(Number(lastEventId))?.streamId;
    if (streamId === undefined) return null;
    const rest = this.#after(lastEventId, streamId);
    return rest.some(({ message }) => isAnswer(message)) ? rest : null;
  }

  #after(lastEventId: string, streamId: string): { id: string; message: Message }[] {
    return [...this.#kept]
      .filter(([id, event]) => id > Number(lastEventId) && event.streamId === streamId)
      .map(([id, { message }]) => ({ id: String(id), message }));
  }
}

/** A response ends the stream of its request; requests and notifications of ours do not. */
function isAnswer(message: object): boolean {
  return 'result' in message || 'error' in message;
}
