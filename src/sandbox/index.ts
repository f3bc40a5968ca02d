import type { AddressInfo } from 'node:net';
import fastify from 'fastify';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { type BehaviourName, behaviours } from './behaviours.ts';
import { createLambdaCloud, type LambdaCloud } from './lambda/index.ts';
import { createProvider, type Provider } from './provider.ts';

const lambdaKey = 'sandbox-lambda-key';
const serverlessKey = 'sandbox-serverless-key';

export interface SandboxOptions {
  clock: Clock;
  /** 0: any free port. */
  port?: number;
  /** How fast the model servers answer; tests want no waiting. */
  firstTokenMs?: number;
  millisecondsPerPiece?: number;
}

/** A whole world on loopback: Lambda Cloud, a serverless provider, and a model server on a rented GPU. */
export interface Sandbox {
  url: string;
  /** Where faults are set over HTTP. */
  controlUrl: string;
  lambda: LambdaCloud;
  serverless: Provider;
  dedicated: Provider;
  /** Environment and `tandem.yaml` with which a Tandem lives in this world. */
  environment: Record<string, string>;
  configYaml: string;
  close(): Promise<void>;
}

/** The GPU that is already there, and the backend on it: named alike, so that they are shown together. */
const boxName = 'sandbox-box';
const modelWindowTokens = 32_768;

export async function startSandbox({
  clock,
  port = 0,
  firstTokenMs = 120,
  millisecondsPerPiece = 4,
}: SandboxOptions): Promise<Sandbox> {
  const lambda = createLambdaCloud({ clock, apiKey: lambdaKey });
  const models = (ids: readonly string[]) => ids.map((id) => ({ id, contextWindowTokens: modelWindowTokens }));
  const pace = { firstTokenMs, millisecondsPerPiece };
  const serverless = createProvider({
    ...pace,
    apiKey: serverlessKey,
    models: models(['small-8b', 'medium-32b', ...Object.keys(behaviours)]),
  });
  const dedicated = createProvider({ ...pace, apiKey: null, models: models(['large-70b']) });
  lambda.addInstance({
    name: boxName,
    type: 'gpu_1x_gh200',
    region: 'us-east-3',
    active: true,
    launchedAtMs: clock.nowMs() - 3 * 3_600_000,
  });

  const app = fastify({ forceCloseConnections: true, bodyLimit: 64 * 1024 * 1024 });
  await app.register(lambda.plugin, { prefix: '/api/v1' });
  await app.register(serverless.plugin, { prefix: '/serverless/v1' });
  await app.register(dedicated.plugin, { prefix: '/dedicated/v1' });
  await app.register(
    async (control) => {
      // `curl -X POST` with a JSON header and no body is a plain order.
      control.addContentTypeParser(
        'application/json',
        { parseAs: 'string' },
        async (_request: unknown, text: string) => (text === '' ? {} : JSON.parse(text)),
      );
      control.get('/', () => ({
        sandbox: true,
        behaviours: Object.keys(behaviours),
        serverless: serverless.override,
        dedicated: dedicated.override,
        lambda: lambda.faults,
        bill: lambda.bill(),
      }));
      control.post('/serverless', async ({ body }) => ({ behaviour: setOverride(serverless, body) }));
      control.post('/dedicated', async ({ body }) => ({ behaviour: setOverride(dedicated, body) }));
      control.post('/lambda', async ({ body }) => lambda.applyFaults(body));
      control.post('/reset', () => {
        lambda.resetFaults();
        serverless.override = null;
        dedicated.override = null;
        return { reset: true };
      });
      control.setErrorHandler(async (error, _request, reply) => {
        const badInput = error instanceof z.ZodError;
        return reply.code(badInput ? 400 : 500).send({ error: badInput ? z.prettifyError(error) : String(error) });
      });
    },
    { prefix: '/control' },
  );
  await app.listen({ host: '127.0.0.1', port });

  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  return {
    url,
    controlUrl: `${url}/control`,
    lambda,
    serverless,
    dedicated,
    environment: { LAMBDA_API_KEY: lambdaKey, LAMBDA_API_BASE: `${url}/api/v1`, SANDBOX_KEY: serverlessKey },
    configYaml: configFor(url),
    close: () => app.close(),
  };
}

const overrideSchema = z.strictObject({
  behaviour: z.enum(Object.keys(behaviours) as [BehaviourName, ...BehaviourName[]]).nullable(),
});

function setOverride(provider: Provider, body: unknown): BehaviourName | null {
  provider.override = overrideSchema.parse(body).behaviour;
  return provider.override;
}

/** A model whose name selects a fault: answers when it is named, and is never picked. */
function faultModel(id: string): string {
  return `      - {id: ${id}, tier: small, auto: false, contextWindow: ${modelWindowTokens}, price: {inputUsdPerMTok: 0.05, outputUsdPerMTok: 0.08}}`;
}

/** Prices are made up, in the range of the market of 2026. */
function configFor(url: string): string {
  return `serverless:
  - id: sandbox-serverless
    baseUrl: ${url}/serverless/v1
    apiKeyEnv: SANDBOX_KEY
    models:
      - {id: small-8b, tier: small, contextWindow: ${modelWindowTokens}, price: {inputUsdPerMTok: 0.05, outputUsdPerMTok: 0.08}}
      - {id: medium-32b, tier: medium, contextWindow: ${modelWindowTokens}, price: {inputUsdPerMTok: 0.2, outputUsdPerMTok: 0.4}}
${Object.keys(behaviours).map(faultModel).join('\n')}
dedicated:
  - id: ${boxName}
    baseUrl: ${url}/dedicated/v1
    models:
      - {id: large-70b, tier: large, contextWindow: ${modelWindowTokens}}
budgets: {dailyUsd: 50, monthlyUsd: 1000}
`;
}
