import { z } from 'zod';
import { describeBody, parseJson } from '../../http.ts';
import { ask, type Reply, type ServerBase } from './ask.ts';

/**
 * How far a model server is. `unreachable`: nothing answers. `server`: something does, and is not well yet. `model`: it
 * is well and does not have the model. `token`: it lists the model and has not made a token. `ready`: it has.
 */
export interface Readiness {
  stage: 'unreachable' | 'server' | 'model' | 'token' | 'ready';
  /** What is in the way; null when it is ready. */
  problem: string | null;
}

/** Real time. The first completion may wait for kernels that are compiled for it. */
const timeoutsMs = { health: 3_000, models: 5_000, token: 30_000 };

const modelsSchema = z.object({ data: z.array(z.object({ id: z.string() })) });
const completionSchema = z.object({
  choices: z.array(z.object({ finish_reason: z.string().nullish() })).min(1),
  usage: z.object({ completion_tokens: z.number() }).nullish(),
});

/** Asks for one token, since machines have listed models on GPUs that could not compute. Rejects only when aborted. */
export async function probe(base: ServerBase & { alias: string }, signal: AbortSignal): Promise<Readiness> {
  const health = await ask(base, { path: '/health', timeoutMs: timeoutsMs.health }, signal);
  if (health.problem !== null) return { stage: 'unreachable', problem: health.problem };
  if (health.status !== 200) return { stage: 'server', problem: describe('/health', health) };

  const models = await ask(base, { path: '/v1/models', timeoutMs: timeoutsMs.models }, signal);
  const missing = problemOfModels(models, base.alias);
  if (missing !== null) return { stage: 'model', problem: missing };

  const body = { model: base.alias, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 1, temperature: 0 };
  const question = { path: '/v1/chat/completions', body, timeoutMs: timeoutsMs.token };
  const problem = problemOfCompletion(await ask(base, question, signal));
  return problem === null ? { stage: 'ready', problem } : { stage: 'token', problem };
}

/** Whether it is well, as far as it knows itself. Rejects only when aborted. */
export async function isHealthy(base: ServerBase, signal: AbortSignal): Promise<boolean> {
  const health = await ask(base, { path: '/health', timeoutMs: timeoutsMs.health }, signal);
  return health.problem === null && health.status === 200;
}

function problemOfModels(reply: Reply, alias: string): string | null {
  if (reply.problem !== null) return reply.problem;
  if (reply.status !== 200) return describe('/v1/models', reply);
  const parsed = modelsSchema.safeParse(parseJson(reply.text));
  if (!parsed.success) return '/v1/models did not answer with a list of models';
  const ids = parsed.data.data.map(({ id }) => id);
  return ids.includes(alias) ? null : `it serves ${ids.slice(0, 5).join(', ') || 'nothing'}, not ${alias}`;
}

function problemOfCompletion(reply: Reply): string | null {
  if (reply.problem !== null) return reply.problem;
  if (reply.status !== 200) return describe('a chat completion', reply);
  const parsed = completionSchema.safeParse(parseJson(reply.text));
  if (!parsed.success) return 'a chat completion was answered with something else';
  return parsed.data.usage?.completion_tokens === 0 ? 'a chat completion came back without a token' : null;
}

function describe(what: string, reply: { status: number; text: string }): string {
  return `${what} was answered with ${reply.status}: ${describeBody(reply.text)}`;
}
