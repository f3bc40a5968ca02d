import pRetry, { AbortError } from 'p-retry';
import { type Dispatcher, request } from 'undici';
import type { z } from 'zod';
import { abortReason } from '../cancellation.ts';
import type { Clock } from '../clock.ts';
import type { Secret } from '../config/secret.ts';
import { AppError } from '../errors.ts';
import { parseJson, toNetworkError, userAgent } from '../http.ts';
import { errorFromAnswer } from './errors.ts';
import type { Pacer, Turn } from './pacer.ts';
import * as wire from './schema.ts';

/** Real time. Launches have been seen to take more than 30 s to answer; the caller finds those by their tag. */
const usualTimeoutsMs = { request: 15_000, launch: 30_000 };
/** Calls that do not wait their turn like all others. */
const turns: Record<string, Turn> = {
  '/instance-operations/launch': 'launch',
  '/instance-operations/terminate': 'urgent',
};
const getRetries = 3;
/** Doubled each time, and drawn between itself and its double. */
const firstRetryMs = 300;
/** A longer Retry-After is reported to the caller instead of being waited for. */
const longestWaitMs = 20_000;
/** Pages of a list that is longer than any account: a token that leads in circles ends here. */
const longestListPages = 100;

export interface LaunchRequest {
  region: string;
  instanceType: string;
  sshKeyName: string;
  name: string;
  imageFamily: string;
  filesystemNames: readonly string[];
  userData?: string | undefined;
  tags: readonly wire.Tag[];
  firewallRulesetIds?: readonly string[];
}

interface Call<Schema extends z.ZodType> {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  schema: Schema;
  signal: AbortSignal;
  query?: Record<string, string | undefined>;
  body?: unknown;
}

/**
 * Lambda Cloud's REST API. Paced for the whole process. GETs are retried (Retry-After obeyed); whatever changes
 * something is sent once: an ambiguous answer is the caller's to reconcile.
 */
export class LambdaClient {
  readonly #baseUrl: string;
  readonly #apiKey: Secret;
  readonly #pacer: Pacer;
  readonly #clock: Clock;
  readonly #dispatcher: Dispatcher;
  readonly #timeoutsMs: { request: number; launch: number };

  constructor(parts: {
    baseUrl: string;
    apiKey: Secret;
    pacer: Pacer;
    clock: Clock;
    dispatcher: Dispatcher;
    timeoutsMs?: { request: number; launch: number };
  }) {
    this.#baseUrl = parts.baseUrl;
    this.#apiKey = parts.apiKey;
    this.#pacer = parts.pacer;
    this.#clock = parts.clock;
    this.#dispatcher = parts.dispatcher;
    this.#timeoutsMs = parts.timeoutsMs ?? usualTimeoutsMs;
  }

  listInstanceTypes(signal: AbortSignal) {
    return this.#get('/instance-types', wire.instanceTypesSchema, signal);
  }

  listRegions(signal: AbortSignal) {
    return this.#get('/regions', wire.regionsSchema, signal);
  }

  listImages(signal: AbortSignal) {
    return this.#get('/images', wire.imagesSchema, signal);
  }

  /** All instances: pages are followed where the API has them. */
  async listInstances(signal: AbortSignal): Promise<wire.Instance[]> {
    return this.#getPages('/instances', wire.instancesSchema, {}, signal);
  }

  getInstance(id: string, signal: AbortSignal) {
    return this.#get(`/instances/${encodeURIComponent(id)}`, wire.instanceSchema, signal);
  }

  /** Renames, and replaces the tags where the API's revision can. */
  updateInstance(id: string, changes: { name?: string; tags?: readonly wire.Tag[] }, signal: AbortSignal) {
    return this.#change('POST', `/instances/${encodeURIComponent(id)}`, wire.instanceSchema, changes, signal);
  }

  /** Launches ONE machine and returns its id. A lost answer (time-out, 5xx) may have launched it all the same. */
  async launch(launch: LaunchRequest, signal: AbortSignal): Promise<string> {
    const body = {
      region_name: launch.region,
      instance_type_name: launch.instanceType,
      ssh_key_names: [launch.sshKeyName],
      name: launch.name,
      image: { family: launch.imageFamily },
      file_system_names: launch.filesystemNames,
      tags: launch.tags,
      ...(launch.userData !== undefined && { user_data: launch.userData }),
      ...(launch.firewallRulesetIds && { firewall_rulesets: launch.firewallRulesetIds.map((id) => ({ id })) }),
    };
    const { instance_ids } = await this.#change('POST', '/instance-operations/launch', wire.launchSchema, body, signal);
    return instance_ids[0] ?? '';
  }

  async restart(ids: readonly string[], signal: AbortSignal) {
    const body = { instance_ids: ids };
    return (await this.#change('POST', '/instance-operations/restart', wire.restartSchema, body, signal))
      .restarted_instances;
  }

  /** The instances that Lambda says it is terminating: check that yours are among them. */
  async terminate(ids: readonly string[], signal: AbortSignal) {
    const body = { instance_ids: ids };
    return (await this.#change('POST', '/instance-operations/terminate', wire.terminateSchema, body, signal))
      .terminated_instances;
  }

  listSshKeys(signal: AbortSignal) {
    return this.#get('/ssh-keys', wire.sshKeysSchema, signal);
  }

  /** Without a public key Lambda makes a pair and shows the private one this once. */
  addSshKey(name: string, publicKey: string | undefined, signal: AbortSignal) {
    return this.#change(
      'POST',
      '/ssh-keys',
      wire.sshKeySchema,
      { name, ...(publicKey && { public_key: publicKey }) },
      signal,
    );
  }

  deleteSshKey(id: string, signal: AbortSignal) {
    return this.#change('DELETE', `/ssh-keys/${encodeURIComponent(id)}`, wire.emptySchema, undefined, signal);
  }

  /** Listed with a hyphen, created and deleted without: so the API has it. */
  listFilesystems(signal: AbortSignal) {
    return this.#get('/file-systems', wire.filesystemsSchema, signal);
  }

  createFilesystem(name: string, region: string, signal: AbortSignal) {
    return this.#change('POST', '/filesystems', wire.filesystemSchema, { name, region }, signal);
  }

  async deleteFilesystem(id: string, signal: AbortSignal) {
    return (
      await this.#change(
        'DELETE',
        `/filesystems/${encodeURIComponent(id)}`,
        wire.deletedFilesystemsSchema,
        undefined,
        signal,
      )
    ).deleted_ids;
  }

  listFirewallRules(signal: AbortSignal) {
    return this.#get('/firewall-rules', wire.firewallRulesSchema, signal);
  }

  /** Replaces ALL account-wide rules: merge with what `listFirewallRules` says, or SSH is locked out. */
  replaceFirewallRules(rules: readonly wire.FirewallRule[], signal: AbortSignal) {
    return this.#change(
      'PUT',
      '/firewall-rules',
      wire.firewallRulesSchema,
      { data: rules.map(wire.toWireRule) },
      signal,
    );
  }

  listFirewallRulesets(signal: AbortSignal) {
    return this.#get('/firewall-rulesets', wire.firewallRulesetsSchema, signal);
  }

  createFirewallRuleset(
    ruleset: { name: string; region: string; rules: readonly wire.FirewallRule[] },
    signal: AbortSignal,
  ) {
    const body = { ...ruleset, rules: ruleset.rules.map(wire.toWireRule) };
    return this.#change('POST', '/firewall-rulesets', wire.firewallRulesetSchema, body, signal);
  }

  /** `id` may be `global`; that one has rules only. */
  updateFirewallRuleset(id: string, rules: readonly wire.FirewallRule[], signal: AbortSignal) {
    const body = { rules: rules.map(wire.toWireRule) };
    return this.#change(
      'PATCH',
      `/firewall-rulesets/${encodeURIComponent(id)}`,
      wire.firewallRulesetSchema,
      body,
      signal,
    );
  }

  deleteFirewallRuleset(id: string, signal: AbortSignal) {
    return this.#change('DELETE', `/firewall-rulesets/${encodeURIComponent(id)}`, wire.emptySchema, undefined, signal);
  }

  /** ISO times; all pages. An account may not be allowed to read them (`forbidden`). */
  listAuditEvents(
    query: { start?: string; end?: string; resource_type?: string },
    signal: AbortSignal,
  ): Promise<wire.AuditEvent[]> {
    return this.#getPages('/audit-events', wire.auditEventsSchema, query, signal);
  }

  async #getPages<Item>(
    path: string,
    schema: z.ZodType<Item[]>,
    query: Record<string, string | undefined>,
    signal: AbortSignal,
  ): Promise<Item[]> {
    const all: Item[] = [];
    let pageToken: string | undefined;
    for (let page = 1; page <= longestListPages; page += 1) {
      const call = { method: 'GET' as const, path, schema, query: { ...query, page_token: pageToken }, signal };
      const answer = await this.#retried(() => this.#send(call), signal);
      all.push(...answer.data);
      if (!answer.pageToken) return all;
      pageToken = answer.pageToken;
    }
    throw new AppError('upstream_invalid', `Lambda Cloud's list ${path} did not end after ${longestListPages} pages.`);
  }

  async #get<Schema extends z.ZodType>(path: string, schema: Schema, signal: AbortSignal): Promise<z.output<Schema>> {
    return (await this.#retried(() => this.#send({ method: 'GET', path, schema, signal }), signal)).data;
  }

  async #change<Schema extends z.ZodType>(
    method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    schema: Schema,
    body: unknown,
    signal: AbortSignal,
  ): Promise<z.output<Schema>> {
    return (await this.#send({ method, path, schema, body, signal })).data;
  }

  async #retried<Result>(send: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    const attempt = async () => {
      try {
        return await send();
      } catch (error) {
        const soon = error instanceof AppError && (error.retryAfterMs ?? 0) <= longestWaitMs;
        if (error instanceof AppError && error.isRetryable && soon) throw error;
        throw new AbortError(error instanceof Error ? error : new Error(String(error)));
      }
    };
    // Waits in the clock's time, as the pacer does.
    const onFailedAttempt = ({ attemptNumber, retriesLeft }: { attemptNumber: number; retriesLeft: number }) =>
      retriesLeft > 0
        ? this.#clock.sleep(firstRetryMs * (1 + Math.random()) * 2 ** (attemptNumber - 1), signal)
        : undefined;
    return pRetry(attempt, { retries: getRetries, minTimeout: 0, maxTimeout: 0, signal, onFailedAttempt }).catch(
      (error: unknown) => {
        throw signal.aborted ? abortReason(signal) : error;
      },
    );
  }

  async #send<Schema extends z.ZodType>(
    call: Call<Schema>,
  ): Promise<{ data: z.output<Schema>; pageToken: string | null }> {
    const { method, path, signal } = call;
    const kind = turns[path] ?? 'request';
    const key = await this.#apiKey.read();
    // It rejects only when aborted.
    await this.#pacer.turn(kind, signal).catch(() => undefined);
    if (signal.aborted) throw abortReason(signal);
    const limit = AbortSignal.timeout(kind === 'launch' ? this.#timeoutsMs.launch : this.#timeoutsMs.request);
    const url = new URL(this.#baseUrl + path);
    for (const [name, value] of Object.entries(call.query ?? {}))
      if (value !== undefined) url.searchParams.set(name, value);
    try {
      const response = await request(url, {
        method,
        dispatcher: this.#dispatcher,
        signal: AbortSignal.any([signal, limit]),
        headers: {
          authorization: `Bearer ${key}`,
          'user-agent': userAgent,
          accept: 'application/json',
          ...(call.body !== undefined && { 'content-type': 'application/json' }),
        },
        body: call.body === undefined ? null : JSON.stringify(call.body),
      });
      const text = await response.body.text();
      if (response.statusCode >= 300) throw this.#failure(response, text);
      return this.#success(call, text);
    } catch (error) {
      if (signal.aborted) throw abortReason(signal);
      if (limit.aborted)
        throw new AppError('upstream_timeout', 'Lambda Cloud did not answer in time.', { cause: error });
      throw toNetworkError(error, 'Lambda Cloud');
    }
  }

  #success<Schema extends z.ZodType>({ schema, path }: Call<Schema>, text: string) {
    const json = parseJson(text);
    const envelope =
      typeof json === 'object' && json !== null ? (json as { data?: unknown; page_token?: unknown }) : {};
    const parsed = schema.safeParse(envelope.data);
    if (!parsed.success) {
      const where = parsed.error.issues[0]?.path.join('.');
      throw new AppError(
        'upstream_invalid',
        `Lambda Cloud answered ${path} with something unexpected${where ? ` (at ${where})` : ''}.`,
      );
    }
    const pageToken =
      typeof envelope.page_token === 'string' && envelope.page_token !== '' ? envelope.page_token : null;
    return { data: parsed.data, pageToken };
  }

  #failure(response: Dispatcher.ResponseData, text: string): AppError {
    const error = errorFromAnswer(
      response.statusCode,
      response.headers['retry-after'],
      text,
      this.#apiKey.origin,
      this.#clock.nowMs(),
    );
    const waitMs = error.retryAfterMs ?? (error.code === 'rate_limited' ? 2_000 : 0);
    this.#pacer.holdBack(Math.min(waitMs, longestWaitMs));
    return error;
  }
}
