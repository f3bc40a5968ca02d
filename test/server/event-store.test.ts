import { describe, expect, it } from 'vitest';
import { EventStore } from '../../src/server/event-store.ts';

interface Message {
  note?: string;
  id?: number;
  result?: object;
}

/** What the store replays after this event. */
async function replay(store: EventStore<Message>, lastEventId: string): Promise<Message[]> {
  const messages: Message[] = [];
  await store.replayEventsAfter(lastEventId, {
    send: async (_id, message) => {
      messages.push(message);
    },
  });
  return messages;
}

describe('the events of a session', () => {
  it('come back in order, those of their own stream only', async () => {
    const store = new EventStore<Message>({ events: 10, bytes: 1_000 });
    const first = await store.storeEvent('a', {});
    for (const note of ['one', 'two', 'three']) {
      await store.storeEvent('a', { note });
      await store.storeEvent('b', { note: `not ${note}` });
    }
    expect(await replay(store, first)).toEqual([{ note: 'one' }, { note: 'two' }, { note: 'three' }]);
  });

  it('are forgotten, the oldest first, when there are too many', async () => {
    const store = new EventStore<Message>({ events: 2, bytes: 1_000 });
    const [first = '', second = '', third = ''] = await Promise.all(
      ['one', 'two', 'three'].map((note) => store.storeEvent('a', { note })),
    );
    expect(await store.getStreamIdForEventId(first)).toBeUndefined();
    expect(await store.getStreamIdForEventId(second)).toBe('a');
    expect(await store.getStreamIdForEventId(third)).toBe('a');
    await expect(replay(store, first)).rejects.toThrow();
  });

  it('are forgotten when they are too large together', async () => {
    const store = new EventStore<Message>({ events: 1_000, bytes: 1_000 });
    for (let count = 0; count < 100; count += 1) await store.storeEvent('a', { note: 'x'.repeat(80) });
    expect(store.size).toBe(10);
  });

  it('are measured in bytes, not in characters', async () => {
    const store = new EventStore<Message>({ events: 10, bytes: 100 });
    await store.storeEvent('a', { note: '漢'.repeat(40) });
    expect(store.size).toBe(0);
  });

  it('cannot be asked for after one that was too large to keep: what it answered would be missing', async () => {
    const store = new EventStore<Message>({ events: 10, bytes: 100 });
    const first = await store.storeEvent('a', {});
    await store.storeEvent('a', { id: 1, result: { text: 'x'.repeat(200) } });
    expect(await store.getStreamIdForEventId(first)).toBeUndefined();
  });

  it('of a stream that is over are known to be all', async () => {
    const store = new EventStore<Message>({ events: 10, bytes: 1_000 });
    const first = await store.storeEvent('a', {});
    expect(store.restOfEndedStream(first)).toBeNull();
    await store.storeEvent('a', { note: 'half' });
    expect(store.restOfEndedStream(first)).toBeNull();
    const last = await store.storeEvent('a', { id: 1, result: {} });
    expect(store.restOfEndedStream(first)?.map(({ message }) => message)).toEqual([
      { note: 'half' },
      { id: 1, result: {} },
    ]);
    expect(store.restOfEndedStream(last)).toBeNull();
    expect(store.restOfEndedStream('nonsense')).toBeNull();
  });
});
