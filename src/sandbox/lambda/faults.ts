import * as z from 'zod';

/**
 * The knobs. Counters count down as they are used and stand at what is left; every other knob holds until it is
 * changed. All of them may be turned at any time; what is stamped on a machine at launch says so.
 */

const times = z.int().min(0);
const durationMs = z.number().min(0);
const body = z.enum(['json', 'empty', 'html']);
const retryAfterSeconds = z.number().min(0).nullable();

const scriptedAnswer = z.strictObject({
  /** `METHOD /path-prefix`, below the mount point: `POST /instance-operations/launch`. `*` stands for any method. */
  match: z.string().regex(/^(\*|[A-Z]+) \/\S*$/, 'Expected "METHOD /path-prefix".'),
  /** Status to answer with. Left out: the true answer is sent, which makes sense together with `delayMs`. */
  status: z.int().min(200).max(599).optional(),
  /** What the answer looks like. */
  body: body.default('json'),
  /** Error code in a JSON body; a fitting one when left out. */
  code: z.string().optional(),
  /** The Retry-After header, in seconds; none when null. */
  retryAfterSeconds: retryAfterSeconds.default(null),
  /** How many requests get this answer before it is used up. */
  times: z.int().min(1).default(1),
  /** Carries the operation out first, and spoils only an answer that would have been a success. */
  afterCommit: z.boolean().default(false),
  /** Waits this long (clock time) before answering: after the operation with `afterCommit`, otherwise before it. */
  delayMs: durationMs.optional(),
  /** Hangs up instead of answering. */
  dropConnection: z.boolean().default(false),
});

const pacing = z.strictObject({
  /** Whether too many requests are refused with 429 at all. */
  enabled: z.boolean(),
  /** One request per this long in the long run, over the whole account. */
  requestIntervalMs: durationMs,
  /** How many requests may come at once after a quiet time. */
  burst: z.int().min(1),
  /** One launch request per this long, on top of the limit for all requests. */
  launchIntervalMs: durationMs,
  /** What a 429 looks like; Lambda does not document it. */
  body,
  /** The Retry-After header of a 429, in seconds; none when null. */
  retryAfterSeconds,
});

const boot = z.strictObject({
  /** Time from launch to the outcome, stamped at launch; null = what such a machine usually takes. */
  durationMs: durationMs.nullable(),
  /** How a boot ends, stamped at launch; `stuck` stays `booting` and never gets an address. */
  outcome: z.enum(['active', 'unhealthy', 'stuck']),
});

const terminate = z.strictObject({
  /** So many terminate requests are answered with "terminating" and then forgotten. */
  ignoreTimes: times,
  /** So many terminate requests are carried out but leave the machines out of their answer. */
  omitFromAnswerTimes: times,
  /** How long a machine is `terminating` (and billed), stamped at the terminate request. */
  durationMs,
});

const shape = z.strictObject({
  /** Instances per page of GET /instances, which then sends and honours `page_token`; null = one answer, no token. */
  pageSize: z.int().min(1).nullable(),
  /** Sends absent optional fields of an instance as null instead of leaving them out. */
  nullOptionals: z.boolean(),
  /** Adds fields that no document knows to every answer and every named thing in it. */
  extraFields: z.boolean(),
  /** Status reported in place of `active`. */
  unknownStatus: z.string().nullable(),
  /** Leaves `architecture` out of instance types. */
  omitArchitecture: z.boolean(),
  /** Adds the undocumented `first_healthy` timestamp to instances that have been active. */
  firstHealthy: z.boolean(),
});

const plainKnobs = {
  /** Scripted answers; the first one that matches a request is used. */
  nextResponses: z.array(scriptedAnswer),
  /** Regions with capacity per instance type, in place of the usual ones. */
  capacity: z.record(z.string(), z.array(z.string())),
  /** So many launches of types listed as available are refused for want of capacity. */
  refuseLaunches: times,
  /** How many instances may exist at once; null = any number. */
  quotaInstances: z.int().min(0).nullable(),
  /** Refuses everything with 403 `global/account-inactive`. */
  accountInactive: z.boolean(),
  /** Price per instance type in US cents per hour, in place of the catalogue's; stamped at launch. */
  priceCentsPerHour: z.record(z.string(), z.int().min(0)),
  /** Marks new instances as having no usable CUDA; the API does not show it. */
  cudaBroken: z.boolean(),
};

const faultsPatch = z
  .strictObject({
    ...plainKnobs,
    pacing: pacing.partial(),
    boot: boot.partial(),
    terminate: terminate.partial(),
    shape: shape.partial(),
  })
  .partial();

export type LambdaFaults = z.infer<z.ZodObject<typeof plainKnobs>> & {
  pacing: z.infer<typeof pacing>;
  boot: z.infer<typeof boot>;
  terminate: z.infer<typeof terminate>;
  shape: z.infer<typeof shape>;
};
export type ScriptedAnswer = z.infer<typeof scriptedAnswer>;

export function defaultFaults(): LambdaFaults {
  return {
    pacing: {
      enabled: true,
      requestIntervalMs: 1_000,
      burst: 3,
      launchIntervalMs: 12_000,
      body: 'json',
      retryAfterSeconds: null,
    },
    nextResponses: [],
    capacity: {},
    refuseLaunches: 0,
    quotaInstances: null,
    accountInactive: false,
    boot: { durationMs: null, outcome: 'active' },
    terminate: { ignoreTimes: 0, omitFromAnswerTimes: 0, durationMs: 40_000 },
    shape: {
      pageSize: null,
      nullOptionals: false,
      extraFields: false,
      unknownStatus: null,
      omitArchitecture: false,
      firstHealthy: false,
    },
    priceCentsPerHour: {},
    cudaBroken: false,
  };
}

/** Groups (pacing, boot, terminate, shape) keep the knobs that the patch does not name; lists and tables are replaced. */
export function patchFaults(faults: LambdaFaults, patch: unknown): void {
  const { pacing, boot, terminate, shape, ...plain } = faultsPatch.parse(patch);
  Object.assign(faults, plain);
  Object.assign(faults.pacing, pacing);
  Object.assign(faults.boot, boot);
  Object.assign(faults.terminate, terminate);
  Object.assign(faults.shape, shape);
}
