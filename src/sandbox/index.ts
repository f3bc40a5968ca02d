import type { AddressInfo } from 'node:net';
import fastify from 'fastify';
import type { Clock, MovableClock } from '../clock.ts';
import { behaviours } from './behaviours.ts';
import { controlPlugin } from './control.ts';
import { createLambdaCloud, type LambdaCloud } from './lambda/index.ts';
import { createMachines } from './machines.ts';
import { createProvider, type Provider } from './provider.ts';
import { type Scenario, type ScenarioName, scenarios } from './scenarios.ts';
import { createWebhookReceiver, type ReceivedNotice } from './webhook.ts';

const lambdaKey = 'sandbox-lambda-key';
const serverlessKey = 'sandbox-serverless-key';

export interface SandboxOptions {
  clock: Clock | MovableClock;
  /** What there is at the start. Its speed and its time are the clock's: whoever makes that sees to them. */
  scenario?: ScenarioName;
  /** 0: any free port. */
  port?: number;
  /** How fast the model servers answer; tests want no waiting. */
  firstTokenMs?: number;
  millisecondsPerPiece?: number;
  /** Regions with capacity per type, in place of the usual ones. */
  capacity?: Record<string, string[]>;
  budget?: { dailyUsd: number; monthlyUsd: number };
}

/** A whole world on loopback: Lambda Cloud, a serverless provider, and the model servers on rented GPUs. */
export interface Sandbox {
  url: string;
  /** Where faults are set over HTTP. */
  controlUrl: string;
  lambda: LambdaCloud;
  serverless: Provider;
  dedicated: Provider;
  /**
   * Where the model server of a machine answers, without `/v1`: `/health`, `/v1/...`, `/metrics`. Until its machine
   * is active and the server has started, and after either is gone, the connection is cut.
   */
  machineUrl(instanceId: string): string;
  /** The model server of a machine, up or not. Throws where its cloud-config starts none. */
  machineServer(instanceId: string): Provider;
  /** A receiver of notices, and what it has accepted. */
  webhookUrl: string;
  notices: readonly ReceivedNotice[];
  /** Environment and `tandem.yaml` with which a Tandem lives in this world. */
  environment: Record<string, string>;
  configYaml: string;
  close(): Promise<void>;
}

/** The GPU that is already there, and the backend on it: named alike, so that they are shown together. */
const boxName = 'sandbox-box';
const modelWindowTokens = 32_768;
const bodyLimit = 64 * 1024 * 1024;

export async function startSandbox({
  clock,
  scenario = 'usual',
  port = 0,
  firstTokenMs = 120,
  millisecondsPerPiece = 4,
  capacity = {},
  budget,
}: SandboxOptions): Promise<Sandbox> {
  const world: Scenario = scenarios[scenario];
  const lambda = createLambdaCloud({ clock, apiKey: lambdaKey });
  const resetFaults = (): void => {
    lambda.resetFaults();
    lambda.applyFaults({ ...world.faults, capacity });
  };
  resetFaults();
  const models = (ids: readonly string[]) => ids.map((id) => ({ id, contextWindowTokens: modelWindowTokens }));
  const pace = { firstTokenMs, millisecondsPerPiece };
  const serverless = createProvider({
    ...pace,
    apiKey: serverlessKey,
    models: models(['small-8b', 'medium-32b', ...Object.keys(behaviours)]),
  });
  const dedicated = createProvider({ ...pace, apiKey: null, models: models(['large-70b']) });
  const machines = createMachines({ ...pace, lambda, bodyLimit });
  const webhook = createWebhookReceiver(clock);
  if (world.hasBox) {
    lambda.addInstance({
      name: boxName,
      type: 'gpu_1x_gh200',
      region: 'us-east-3',
      active: true,
      launchedAtMs: clock.nowMs() - 3 * 3_600_000,
    });
  }

  const app = fastify({ forceCloseConnections: true, bodyLimit });
  await app.register(lambda.plugin, { prefix: '/api/v1' });
  await app.register(serverless.plugin, { prefix: '/serverless/v1' });
  await app.register(dedicated.plugin, { prefix: '/dedicated/v1' });
  await app.register(machines.plugin, { prefix: '/machines' });
  await app.register(webhook.plugin, { prefix: '/webhook' });
  const control = controlPlugin({ clock, lambda, serverless, dedicated, machines, webhook, resetFaults });
  await app.register(control, { prefix: '/control' });
  await app.listen({ host: '127.0.0.1', port });

  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  const webhookUrl = `${url}/webhook`;
  return {
    url,
    controlUrl: `${url}/control`,
    lambda,
    serverless,
    dedicated,
    machineUrl: (instanceId) => `${url}/machines/${instanceId}`,
    machineServer: machines.server,
    webhookUrl,
    notices: webhook.notices,
    environment: {
      LAMBDA_API_KEY: lambdaKey,
      LAMBDA_API_BASE: `${url}/api/v1`,
      SANDBOX_KEY: serverlessKey,
      ...(world.hasWebhook && { TANDEM_WEBHOOK_URL: webhookUrl }),
    },
    configYaml: configFor(url, { ...world, budgets: { ...world.budgets, ...budget } }),
    close: () => app.close(),
  };
}

/** A model whose name selects a fault: answers when it is named, and is never picked. */
function faultModel(id: string): string {
  return `      - {id: ${id}, tier: small, auto: false, contextWindow: ${modelWindowTokens}, price: {inputUsdPerMTok: 0.05, outputUsdPerMTok: 0.08}}`;
}

/** Prices are made up, in the range of the market of 2026. */
function configFor(url: string, { hasBox, budgets, yaml }: Scenario): string {
  const { dailyUsd, monthlyUsd, timeZone } = budgets;
  const zone = timeZone === undefined ? '' : `, timeZone: ${timeZone}`;
  const box = `dedicated:
  - id: ${boxName}
    baseUrl: ${url}/dedicated/v1
    models:
      - {id: large-70b, tier: large, contextWindow: ${modelWindowTokens}}
`;
  return `serverless:
  - id: sandbox-serverless
    baseUrl: ${url}/serverless/v1
    apiKeyEnv: SANDBOX_KEY
    models:
      - {id: small-8b, tier: small, contextWindow: ${modelWindowTokens}, price: {inputUsdPerMTok: 0.05, outputUsdPerMTok: 0.08}}
      - {id: medium-32b, tier: medium, contextWindow: ${modelWindowTokens}, price: {inputUsdPerMTok: 0.2, outputUsdPerMTok: 0.4}}
${Object.keys(behaviours).map(faultModel).join('\n')}
${hasBox ? box : ''}budgets: {dailyUsd: ${dailyUsd}, monthlyUsd: ${monthlyUsd}${zone}}
${yaml}`;
}
