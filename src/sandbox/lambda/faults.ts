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

const serving = z.strictObject({
  /** From active until a program on the machine answers, stamped at launch like the other two. */
  lagMs: durationMs,
  /** Programs on the machine never answer; the API does not show it. */
  dead: z.boolean(),
  /** They stop for good this long after they first answered; null = they do not. */
  diesAfterMs: durationMs.nullable(),
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
  /** A type has no capacity before this moment of the sandbox's clock. */
  soldOutUntilMs: z.record(z.string(), z.number()),
  /** So many launches of types listed as available are refused for want of capacity. */
  refuseLaunches: times,
  /** How many instances may exist at once; null = any number. */
  quotaInstances: z.int().min(0).nullable(),
  /** Refuses everything with 403 `global/account-inactive`. */
  accountInactive: z.boolean(),
  /** Answers everything with 503 and an HTML page, until it is turned off. */
  apiDown: z.boolean(),
  /** The same, until this moment of the sandbox's clock; null = not at all. */
  apiDownUntilMs: z.number().nullable(),
  /** Refuses to change the tags of a machine, with 400. */
  tagsImmutable: z.boolean(),
  /** Price per instance type in US cents per hour, in place of the catalogue's; stamped at launch. */
  priceCentsPerHour: z.record(z.string(), z.int().min(0)),
  /** Marks new instances as having no usable CUDA; the API does not show it. */
  cudaBroken: z.boolean(),
};

/** Not knobs: each happens once, to machines named by id, or by name while they live. */
const events = {
  /** Gone from every list at once, as if they had never been; they are billed up to then. */
  vanish: z.array(z.string()),
  /** Terminated by somebody else, in the console. */
  terminateByOther: z.array(z.string()),
};

const faultsPatch = z
  .strictObject({
    ...plainKnobs,
    ...events,
    pacing: pacing.partial(),
    boot: boot.partial(),
    terminate: terminate.partial(),
    serving: serving.partial(),
    shape: shape.partial(),
  })
  .partial();

export type LambdaFaults = z.infer<z.ZodObject<typeof plainKnobs>> & {
  pacing: z.infer<typeof pacing>;
  boot: z.infer<typeof boot>;
  terminate: z.infer<typeof terminate>;
  serving: z.infer<typeof serving>;
  shape: z.infer<typeof shape>;
};
export type EventNames = z.infer<z.ZodObject<typeof events>>;
type KnobsPatch = Omit<z.infer<typeof faultsPatch>, keyof EventNames>;
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
    soldOutUntilMs: {},
    refuseLaunches: 0,
    quotaInstances: null,
    accountInactive: false,
    apiDown: false,
    apiDownUntilMs: null,
    tagsImmutable: false,
    boot: { durationMs: null, outcome: 'active' },
    terminate: { ignoreTimes: 0, omitFromAnswerTimes: 0, durationMs: 40_000 },
    serving: { lagMs: 40_000, dead: false, diesAfterMs: null },
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

/** Throws a ZodError on an unknown knob or value. */
export function readPatch(patch: unknown): { events: EventNames; knobs: KnobsPatch } {
  const { vanish = [], terminateByOther = [], ...knobs } = faultsPatch.parse(patch);
  return { events: { vanish, terminateByOther }, knobs };
}

/** Groups (pacing, boot, terminate, serving, shape) keep the knobs that the patch does not name; lists and tables are replaced. */
export function turnKnobs(faults: LambdaFaults, knobs: KnobsPatch): void {
  const { pacing, boot, terminate, serving, shape, ...plain } = knobs;
  Object.assign(faults, plain);
  Object.assign(faults.pacing, pacing);
  Object.assign(faults.boot, boot);
  Object.assign(faults.terminate, terminate);
  Object.assign(faults.serving, serving);
  Object.assign(faults.shape, shape);
}
