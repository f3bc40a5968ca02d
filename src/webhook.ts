import { type Dispatcher, request } from 'undici';
import type { Clock } from './clock.ts';
import type { Secret } from './config/secret.ts';
import { parseRetryAfter, userAgent } from './http.ts';
import type { Log } from './log.ts';
import type { NoticeBook, NoticeRow } from './usage/notice-book.ts';

/** Real time, for one notice. */
const usualTimeoutMs = 10_000;
/** A receiver that failed is left alone at least so long, so that what was told later does not arrive before. */
const shortestRestMs = 5_000;
const longestRestMs = 60_000;
const tidyEveryMs = 60 * 60_000;
/** What arrives later than that says when it was told. */
const lateAfterMs = 10 * 60_000;
/** Slack's reasons are one word, such as `no_service`. Nothing else of an answer is kept: it may quote the URL. */
const reasonForm = /^[a-z_]{3,60}$/;
const reasonBytes = 200;

type Answer = { status: number; reason: string; retryAfterMs: number | undefined };

/**
 * Sends notices to one URL, as messages that Slack takes: `text`, and for other receivers `metadata` with the kind,
 * the key and the time. The URL is a key: who has it can write into the channel, so it is in no log and no row.
 */
export class Webhook {
  readonly #url: Secret | null;
  readonly #book: NoticeBook;
  readonly #clock: Clock;
  readonly #dispatcher: Dispatcher;
  readonly #log: Log;
  readonly #timeoutMs: number;
  #round: Promise<void> | null = null;
  #restsUntilMs = Number.NEGATIVE_INFINITY;
  #tidiedAtMs = Number.NEGATIVE_INFINITY;
  /** Why nothing more is sent. */
  #stopped: string | null = null;
  #saidProblem = '';

  /** `url` null: nothing is sent, and notices are only kept. */
  constructor(parts: {
    url: Secret | null;
    book: NoticeBook;
    clock: Clock;
    dispatcher: Dispatcher;
    log: Log;
    timeoutMs?: number;
  }) {
    this.#url = parts.url;
    this.#book = parts.book;
    this.#clock = parts.clock;
    this.#dispatcher = parts.dispatcher;
    this.#log = parts.log;
    this.#timeoutMs = parts.timeoutMs ?? usualTimeoutMs;
    if (!parts.url) this.#stopped = 'no webhook is configured (notices.webhookUrlEnv)';
  }

  /**
   * Sends what is due, in one round; whoever calls while it runs gets the same one. Never throws, and need not be
   * waited for: a receiver that hangs holds it for ten seconds.
   */
  send(signal: AbortSignal = new AbortController().signal): Promise<void> {
    this.#round ??= this.#sendDue(signal)
      .catch((error: unknown) => this.#log.warn({ error }, 'notices could not be sent'))
      .finally(() => {
        this.#round = null;
      });
    return this.#round;
  }

  /** Whether it is worth staying alive for what is still to be sent. */
  async hasWork(): Promise<boolean> {
    return this.#stopped === null && (await this.#book.hasUnsent());
  }

  async #sendDue(signal: AbortSignal): Promise<void> {
    await this.#tidy();
    if (this.#stopped !== null || !this.#url || this.#clock.nowMs() < this.#restsUntilMs) return;
    const due = await this.#book.due(this.#clock.nowMs());
    if (due.length === 0) return;
    // Before anything is claimed: reading may take its time.
    const url = await this.#url.read();
    for (const row of due) {
      if (signal.aborted) return;
      const claimed = await this.#book.claim(row);
      // Somebody else sends it; what comes after it is left to them too.
      if (!claimed) return;
      if (!(await this.#deliver(claimed, url, signal))) return;
    }
  }

  /** False when the round is over. An abort leaves the claim as it is: it may have arrived. */
  async #deliver(notice: NoticeRow, url: string, signal: AbortSignal): Promise<boolean> {
    let answer: Answer;
    try {
      answer = await this.#post(notice, url, signal);
    } catch (error) {
      if (!signal.aborted) await this.#rest(notice, `It could not be reached: ${describe(error)}.`);
      return false;
    }
    const { status, reason, retryAfterMs } = answer;
    if (status >= 200 && status < 300) {
      await this.#book.sent(notice);
      this.#saidProblem = '';
      return true;
    }
    const problem = `It answered ${status}${reason && ` (${reason})`}.`;
    if (status === 404 || status === 410) {
      await this.#book.failed(notice, problem);
      this.#stop(problem);
      return false;
    }
    if (isAboutTheMessage(status)) {
      await this.#book.failed(notice, problem);
      this.#say(notice, problem);
      return true;
    }
    await this.#rest(notice, problem, retryAfterMs);
    return false;
  }

  async #post(notice: NoticeRow, url: string, signal: AbortSignal): Promise<Answer> {
    const { statusCode, headers, body } = await request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': userAgent },
      body: JSON.stringify(toMessage(notice, this.#clock.nowMs())),
      dispatcher: this.#dispatcher,
      signal: AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)]),
    });
    let text = '';
    // The status has said it; a body that breaks off, or never ends, changes nothing.
    try {
      for await (const piece of body) {
        text += piece;
        if (text.length > reasonBytes) break;
      }
    } catch {
      text = '';
    }
    const reason = reasonForm.test(text.trim()) ? text.trim() : '';
    return { status: statusCode, reason, retryAfterMs: parseRetryAfter(headers['retry-after'], this.#clock.nowMs()) };
  }

  async #rest(notice: NoticeRow, problem: string, retryAfterMs?: number): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const nextMs = await this.#book.failed(notice, problem, retryAfterMs);
    const restMs = Math.min(longestRestMs, (nextMs ?? nowMs) - nowMs);
    this.#restsUntilMs = nowMs + Math.max(shortestRestMs, restMs, retryAfterMs ?? 0);
    this.#say(notice, problem);
  }

  #stop(problem: string): void {
    this.#stopped = `the webhook is gone: ${problem}`;
    this.#log.error(
      { problem, origin: this.#url?.origin },
      'the webhook is gone, and no more notices are sent: make a new one, put its URL into the environment variable, and start Tandem again',
    );
  }

  /** A receiver that is down for a day is one line in the log, not hundreds. */
  #say({ key, kind, tries }: NoticeRow, problem: string): void {
    const level = problem === this.#saidProblem ? 'debug' : 'warn';
    this.#saidProblem = problem;
    this.#log[level]({ problem, key, kind, tries }, 'a notice could not be delivered; it is tried again for a day');
  }

  async #tidy(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    // The clock may be set back.
    if (Math.abs(nowMs - this.#tidiedAtMs) < tidyEveryMs) return;
    this.#tidiedAtMs = nowMs;
    if (this.#stopped !== null) await this.#book.giveUpOld(`It was not sent: ${this.#stopped}.`);
    await this.#book.removeOld();
  }
}

/** Sending it elsewhere in time would not help, and others may be fine. */
function isAboutTheMessage(status: number): boolean {
  return status === 400 || status === 413 || status === 422;
}

/** Slack documents `text` and `metadata`, and refuses a text-less message; other receivers ignore what they do not know. */
function toMessage({ key, kind, text, at_ms }: NoticeRow, nowMs: number) {
  const at = new Date(at_ms).toISOString();
  const late = nowMs - at_ms > lateAfterMs ? ` (of ${at.slice(0, 16).replace('T', ' ')} UTC)` : '';
  return {
    text: escapeForSlack(text + late),
    metadata: { event_type: 'tandem_notice', event_payload: { kind, key, at } },
  };
}

/** Slack's three control characters, so that no name of a machine becomes a link or calls the whole channel. */
function escapeForSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** A code or a class, and never a message: those may quote the URL. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  if (error.name === 'TimeoutError') return 'no answer in time';
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
