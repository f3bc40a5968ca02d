import fastify from 'fastify';
import { Agent } from 'undici';
import { onTestFinished } from 'vitest';
import { type Secret, secretFromValue } from '../../src/config/secret.ts';
import { LambdaClient } from '../../src/lambda/client.ts';
import { Pacer } from '../../src/lambda/pacer.ts';
import { Redactor } from '../../src/redactor.ts';
import { createLambdaCloud, type LambdaCloud } from '../../src/sandbox/lambda/index.ts';
import { JumpClock } from '../support/clock.ts';

export const apiKey = 'secret_test_0123456789';

export interface Cloud extends LambdaCloud {
  client: LambdaClient;
  clock: JumpClock;
  baseUrl: string;
  /** The headers of every request, in order of arrival. */
  headers: Record<string, unknown>[];
  /** `GET /regions`, for every request in order of arrival. */
  sent(): string[];
}

export interface CloudOptions {
  revision?: 'early' | 'late';
  /** How much faster than real time; whole seconds of Lambda's become milliseconds. */
  speed?: number;
  secret?: Secret;
  /** Where the client looks for it, when not where it is. */
  lookAt?: string;
  timeoutsMs?: { request: number; launch: number };
}

/** The sandbox's Lambda Cloud alone, over real HTTP, and a client of it. */
export async function openCloud({
  revision = 'late',
  speed = 500,
  secret,
  lookAt,
  timeoutsMs,
}: CloudOptions = {}): Promise<Cloud> {
  const clock = new JumpClock(undefined, speed);
  const cloud = createLambdaCloud({ clock, apiKey, revision });
  const headers: Record<string, unknown>[] = [];
  const app = fastify({ forceCloseConnections: true, bodyLimit: 8 * 1024 * 1024 });
  app.addHook('onRequest', async (request) => {
    headers.push(request.headers);
  });
  await app.register(cloud.plugin, { prefix: '/api/v1' });
  const baseUrl = `${await app.listen({ host: '127.0.0.1', port: 0 })}/api/v1`;
  const dispatcher = new Agent();
  onTestFinished(async () => {
    await dispatcher.destroy();
    await app.close();
  });
  const client = new LambdaClient({
    baseUrl: lookAt ?? baseUrl,
    apiKey: secret ?? secretFromValue('LAMBDA_API_KEY', apiKey, new Redactor()),
    pacer: new Pacer(clock),
    clock,
    dispatcher,
    ...(timeoutsMs && { timeoutsMs }),
  });
  const sent = () => cloud.requestLog.map(({ method, path }) => `${method} ${path}`);
  return { ...cloud, client, clock, baseUrl, headers, sent };
}

/** Waits in real time, a few milliseconds at a time, until it is so. */
export async function until(isSo: () => boolean | Promise<boolean>, patienceMs = 5_000): Promise<void> {
  const endsAt = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > endsAt) throw new Error(`waited ${patienceMs} ms in vain for: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
