import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { AppError } from '../errors.ts';
import { aliasOf, specFor } from '../lambda/deployment-spec.ts';
import type { InstanceType } from '../lambda/schema.ts';
import { fitModel } from '../lambda/serving/model-fit.ts';
import { endpoints, engines } from '../lambda/serving/spec.ts';
import type { DeploymentSpec } from '../usage/deployments.ts';
import type { ToolContext } from './tool.ts';

export const serveInput = z.strictObject({
  model: z.string().min(1).describe('Hugging Face repository'),
  engine: z.enum(engines).optional(),
  max_context: z.int().min(256).optional(),
  hf_token_env: z
    .string()
    .refine((name) => /^[A-Z_][A-Z0-9_]*$/.test(name), {
      error: 'must be the NAME of an environment variable, not the token itself',
    })
    .optional()
    .describe('NAME of a variable'),
  extra_args: z.array(z.string()).optional(),
  endpoint: z.enum(endpoints).optional(),
  allow_cidr: z.string().optional(),
  idle_minutes: z.number().positive().nullable().optional(),
  allow_misfit: z.boolean().optional(),
});

export type ServeInput = z.output<typeof serveInput>;

/** A name for the backend that the deployment becomes. Throws where it cannot be one. */
export function backendName(given: string | undefined, { model }: ServeInput, { isTakenName }: ToolContext): string {
  const name = given ?? `${aliasOf(model).toLowerCase().slice(0, 50)}-${randomBytes(2).toString('hex')}`;
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) {
    throw new AppError('invalid_input', `"${name}" cannot be the name of a backend.`, {
      next: 'Give a name of letters, digits, dot, dash or underscore, at most 63.',
    });
  }
  if (['auto', 'serverless', 'dedicated'].includes(name) || isTakenName(name)) {
    throw new AppError('duplicate_name', `The name "${name}" is taken by a backend.`, { next: 'Give another name.' });
  }
  return name;
}

/** Throws `invalid_input` with the arithmetic when a model does not fit, unless that is allowed. Returns it. */
export function requireFit(serve: ServeInput, types: readonly InstanceType[], all: readonly InstanceType[]): string {
  const wish = { model: serve.model, maxContext: serve.max_context ?? null };
  const fits = types.map((type) => ({ type, ...fitModel(wish, type) }));
  const misfit = fits.find((fit) => !fit.fits);
  const [first] = fits;
  if (!misfit || serve.allow_misfit) return first?.arithmetic ?? '';
  const others = all
    .filter((type) => fitModel(wish, type).fits && type.regionsWithCapacity.length > 0)
    .toSorted((one, other) => one.priceCentsPerHour - other.priceCentsPerHour)
    .slice(0, 4)
    .map(({ name }) => name);
  throw new AppError('invalid_input', `${serve.model} does not fit on ${misfit.type.name}: ${misfit.arithmetic}.`, {
    next: `${others.length > 0 ? `It fits, with capacity now: ${others.join(', ')}. ` : ''}A shorter max_context needs less; allow_misfit tries all the same.`,
  });
}

export function serveSpec(
  serve: ServeInput,
  plan: {
    types: readonly string[];
    regions: readonly string[] | null;
    maxPriceCentsPerHour: number | null;
    sshKeyName: string;
    imageFamily: string;
    filesystemNames: readonly string[];
    leaseMs: number;
  },
  { idleMs }: ToolContext,
): DeploymentSpec {
  const { types, regions, maxPriceCentsPerHour, sshKeyName, imageFamily, filesystemNames, leaseMs } = plan;
  const idleMinutes = serve.idle_minutes;
  return specFor(
    {
      model: serve.model,
      engine: serve.engine ?? 'vllm',
      maxContext: serve.max_context ?? null,
      hfTokenEnv: serve.hf_token_env ?? null,
      extraArgs: serve.extra_args ?? [],
      endpoint: serve.endpoint ?? 'tunnel',
      allowCidr: serve.allow_cidr ?? null,
    },
    {
      ...{ types, regions, maxPriceCentsPerHour, sshKeyName, imageFamily, leaseMs },
      filesystem: filesystemNames[0] ?? null,
      idleMs: idleMinutes === undefined ? idleMs : idleMinutes === null ? null : idleMinutes * 60_000,
    },
  );
}

/** All that a yes would mean: also what goes onto the machine, and what its server is told. */
export function describeServing(spec: DeploymentSpec, arithmetic: string): string {
  const token = spec.hfTokenEnv === null ? '' : `, with the token in ${spec.hfTokenEnv} on the machine`;
  const args = spec.extraArgs.length === 0 ? '' : `, with ${spec.extraArgs.map(quoted).join(' ')}`;
  const open = spec.endpoint === 'direct' ? `, open to ${spec.allowCidr} by plain HTTP` : '';
  const idle = spec.idleMs === null ? '' : `, returned after ${spec.idleMs / 60_000} min without work`;
  return `${spec.model} with ${spec.engine} (${arithmetic}) by ${spec.endpoint}${open}${token}${args}${idle}`;
}

/** So that an argument is taken for an argument, and not for a part of the question. */
function quoted(argument: string): string {
  if (/^[\w./:=,@+-]+$/.test(argument)) return argument;
  return JSON.stringify(argument).replace(
    /[^\x20-\x7e]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
