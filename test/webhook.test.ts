import { Agent } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { secretFromValue } from '../src/config/secret.ts';
import { createLog } from '../src/log.ts';
import type { NoticeBook } from '../src/usage/notice-book.ts';
import { Webhook } from '../src/webhook.ts';
import { openNoticeBooks } from './support/notices.ts';
import { startUpstream, type Upstream } from './support/upstream.ts';
import { itWithProcesses, startChild } from './usage/child.ts';

const minuteMs = 60_000;
const secretPath = '/services/T000/B000/not-for-everybody';

type Handle = Upstream['handle'];
const answer =
  (status: number, body = 'ok', headers: Record<string, string> = {}): Handle =>
  ({ response }) =>
    void response.writeHead(status, headers).end(body);

async function open({ handle = answer(200), timeoutMs = 5_000 }: { handle?: Handle; timeoutMs?: number } = {}) {
  const books = await openNoticeBooks();
  const receiver = await startUpstream(handle);
  const logged: string[] = [];
  const log = createLog('debug', books.redactor, (line) => logged.push(line));
  const url = new URL(secretPath, receiver.url).href;
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  onTestFinished(() => dispatcher.destroy());
  const createWebhook = (book: NoticeBook = books.notices, to: string | null = url) =>
    new Webhook({
      url: to === null ? null : secretFromValue('TANDEM_WEBHOOK_URL', to, books.redactor),
      book,
      clock: books.clock,
      dispatcher,
      log,
      timeoutMs,
    });
  return { ...books, receiver, createWebhook, webhook: createWebhook(), url, log: () => logged.join('') };
}

const textsOf = (receiver: Upstream) => receiver.requests.map(({ body }) => JSON.parse(body).text);

describe('the message', () => {
  it('is what Slack takes, with the facts for other receivers beside it', async () => {
    const { notices, webhook, receiver, clock } = await open();
    await notices.tell('lease_80', 'lease_80:7', 'The lease of trainer ends soon.');
    await webhook.send();
    expect(receiver.requests).toMatchObject([{ path: secretPath, headers: { 'content-type': 'application/json' } }]);
    expect(JSON.parse(receiver.requests[0]!.body)).toEqual({
      text: 'The lease of trainer ends soon.',
      metadata: {
        event_type: 'tandem_notice',
        event_payload: { kind: 'lease_80', key: 'lease_80:7', at: new Date(clock.nowMs()).toISOString() },
      },
    });
  });

  it('calls no channel and makes no link, whatever a machine is named', async () => {
    const { notices, webhook, receiver } = await open();
    await notices.tell('ready', 'a', 'Machine <!channel> & <http://evil|co> is ready.');
    await webhook.send();
    expect(textsOf(receiver)).toEqual(['Machine &lt;!channel&gt; &amp; &lt;http://evil|co&gt; is ready.']);
  });

  it('says when it was told, when it comes late', async () => {
    const { notices, webhook, receiver, clock } = await open();
    await notices.tell('ready', 'a', 'It is ready.');
    clock.advance(11 * minuteMs);
    await webhook.send();
    expect(textsOf(receiver)).toEqual(['It is ready. (of 2026-11-23 12:00 UTC)']);
  });
});

describe('sending', () => {
  it('sends each once, in the order in which they were told', async () => {
    const { notices, webhook, receiver } = await open();
    for (const name of ['one', 'two', 'three']) await notices.tell('ready', name, name);
    await webhook.send();
    await webhook.send();
    expect(textsOf(receiver)).toEqual(['one', 'two', 'three']);
    expect(await webhook.hasWork()).toBe(false);
  });

  itWithProcesses('sends each once when two processes send at once', async () => {
    const { notices, path, receiver, url, clock, rows } = await open();
    for (let index = 0; index < 30; index += 1) await notices.tell('ready', `${index}`, `notice ${index}`);
    const senders = [1, 2].map(() => startChild('send', { path, url, nowMs: clock.nowMs() }));
    const answers = await Promise.all(senders.map((sender) => sender.answer()));
    expect(answers).toEqual([{ hasWork: false }, { hasWork: false }]);
    expect(textsOf(receiver).sort()).toEqual((await rows()).map(({ text }) => text).sort());
  });

  it('runs one round at a time, whoever asks', async () => {
    const { notices, webhook, receiver } = await open();
    await notices.tell('ready', 'a', 'a');
    await Promise.all([webhook.send(), webhook.send(), webhook.send()]);
    expect(receiver.requests).toHaveLength(1);
  });

  it('does nothing without a URL, and keeps what was told', async () => {
    const { notices, createWebhook, receiver, rows } = await open();
    const webhook = createWebhook(notices, null);
    await notices.tell('ready', 'a', 'a');
    await webhook.send();
    expect(receiver.requests).toEqual([]);
    expect(await webhook.hasWork()).toBe(false);
    expect(await rows()).toMatchObject([{ sent_at_ms: null, problem: null }]);
  });

  it('does not send old news when a URL is given at last', async () => {
    const { notices, createWebhook, receiver, clock } = await open();
    await notices.tell('ready', 'a', 'a');
    clock.advance(25 * 60 * minuteMs);
    await createWebhook(notices, null).send();
    await createWebhook().send();
    expect(receiver.requests).toEqual([]);
  });
});

describe('a receiver in trouble', () => {
  it.each([
    ['answers 500', answer(500, 'Oops, something broke.'), 'It answered 500.'],
    ['answers with a page elsewhere', answer(302, '', { location: 'http://127.0.0.1:1/' }), 'It answered 302.'],
    ['says why in a word', answer(403, 'action_prohibited'), 'It answered 403 (action_prohibited).'],
    [
      'hangs up',
      (({ request }) => void request.socket.destroy()) as Handle,
      'It could not be reached: UND_ERR_SOCKET.',
    ],
  ])('that %s gets the notice again later', async (_what, handle, problem) => {
    const { notices, webhook, receiver, clock, rows } = await open({ handle });
    await notices.tell('ready', 'a', 'a');
    await webhook.send();
    expect(await rows()).toMatchObject([{ sent_at_ms: null, tries: 1, problem }]);
    await webhook.send();
    expect(receiver.requests).toHaveLength(1);
    receiver.handle = answer(200);
    clock.advance(10_000);
    await webhook.send();
    expect(await rows()).toMatchObject([{ sent_at_ms: clock.nowMs(), tries: 2, problem: null }]);
  });

  it('that never answers holds nobody for longer than the time-out', async () => {
    const { notices, webhook, rows, receiver } = await open({ handle: () => undefined, timeoutMs: 50 });
    await notices.tell('ready', 'a', 'a');
    await webhook.send();
    expect(receiver.requests).toHaveLength(1);
    expect(await rows()).toMatchObject([{ problem: 'It could not be reached: no answer in time.' }]);
  });

  it('that answers 200 and never ends its body has it all the same', async () => {
    const handle: Handle = ({ response }) => void response.writeHead(200).write('o');
    const { notices, webhook, rows, clock } = await open({ handle, timeoutMs: 50 });
    await notices.tell('ready', 'a', 'a');
    await webhook.send();
    expect(await rows()).toMatchObject([{ sent_at_ms: clock.nowMs() }]);
  });

  it('that is not there at all is no error of ours', async () => {
    const { notices, createWebhook, rows } = await open();
    await notices.tell('ready', 'a', 'a');
    await createWebhook(notices, 'http://127.0.0.1:1/services/T000/secret-path').send();
    expect(await rows()).toMatchObject([{ problem: 'It could not be reached: ECONNREFUSED.' }]);
  });

  it('that asks for time gets it, for all notices', async () => {
    const { notices, webhook, receiver, clock } = await open({
      handle: answer(429, 'rate_limited', { 'retry-after': '120' }),
    });
    await notices.tell('ready', 'a', 'a');
    await notices.tell('ready', 'b', 'b');
    await webhook.send();
    receiver.handle = answer(200);
    clock.advance(119_000);
    await webhook.send();
    expect(receiver.requests).toHaveLength(1);
    clock.advance(1_000);
    await webhook.send();
    expect(textsOf(receiver)).toEqual(['a', 'a', 'b']);
  });

  it('that refuses one message gets the others', async () => {
    const handle: Handle = (exchange) => answer(exchange.seen.body.includes('bad') ? 400 : 200)(exchange);
    const { notices, webhook, rows } = await open({ handle });
    for (const name of ['one', 'bad', 'three']) await notices.tell('ready', name, name);
    await webhook.send();
    expect((await rows()).map(({ key, sent_at_ms }) => [key, sent_at_ms !== null])).toEqual([
      ['one', true],
      ['bad', false],
      ['three', true],
    ]);
  });

  it.each([404, 410])('that answers %i is asked no more, and the log says what to do', async (status) => {
    const { notices, webhook, receiver, clock, log } = await open({ handle: answer(status, 'no_service') });
    await notices.tell('ready', 'a', 'a');
    await webhook.send();
    clock.advance(60 * minuteMs);
    await webhook.send();
    expect(receiver.requests).toHaveLength(1);
    expect(await webhook.hasWork()).toBe(false);
    expect(log()).toContain(`It answered ${status} (no_service).`);
    expect(log()).toContain('start Tandem again');
  });

  it('is one line in the log as long as it stays so', async () => {
    const { notices, webhook, clock, log } = await open({ handle: answer(500) });
    await notices.tell('ready', 'a', 'a');
    for (let round = 0; round < 5; round += 1) {
      await webhook.send();
      clock.advance(60 * minuteMs);
    }
    expect(log().match(/"level":40/g)).toHaveLength(1);
  });

  it('never learns the URL from the log or the ledger', async () => {
    const { notices, createWebhook, rows, log, url } = await open({
      handle: ({ request, response }) => void response.writeHead(500).end(`Cannot POST ${request.url}`),
    });
    await notices.tell('ready', 'a', 'a');
    await createWebhook().send();
    await createWebhook(notices, `${url}\n not a url`).send();
    const seen = log() + JSON.stringify(await rows());
    expect(seen).toContain('It answered 500.');
    expect(seen).not.toContain('not-for-everybody');
  });
});

describe('stopping', () => {
  it('ends a call under way, and the notice is sent by the next one', async () => {
    const { notices, webhook, receiver, clock, rows } = await open({ handle: () => stop.abort() });
    const stop = new AbortController();
    await notices.tell('ready', 'a', 'a');
    await webhook.send(stop.signal);
    expect(await rows()).toMatchObject([{ sent_at_ms: null, problem: null }]);
    receiver.handle = answer(200);
    clock.advance(minuteMs);
    await webhook.send();
    expect(await rows()).toMatchObject([{ sent_at_ms: clock.nowMs() }]);
  });
});

it('survives a database that is gone', async () => {
  const { notices, webhook, database, log } = await open();
  await notices.tell('ready', 'a', 'a');
  await database.close();
  await webhook.send();
  expect(log()).toContain('notices could not be sent');
});
