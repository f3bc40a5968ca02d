import { z } from 'zod';
import { backendId, block, environmentName, isObject, timeZone } from './parts.ts';

/** The blocks of `tandem.yaml` about machines: how long they may live, how they serve, when they are wanted. */

const dayNames = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
const longestLeaseHours = 720;
const longestIdleMinutes = 10_080;
const mostMachines = 16;

/** Machines that bear our tags and that no row of the ledger knows. */
const orphans = ['adopt', 'terminate'] as const;
const engines = ['vllm', 'sglang'] as const;
const endpoints = ['tunnel', 'direct'] as const;

/** A span of local time on some days of the week; `toMinute` at or below `fromMinute` is on the next day. */
export interface WeeklyWindow {
  /** 1 (Monday) to 7: the days on which it opens. */
  weekdays: number[];
  /** Minutes since midnight, as the clock on the wall has it. */
  fromMinute: number;
  /** Up to 1440, which is midnight. */
  toMinute: number;
}

/** A line of the schedule: which machines are wanted when, and what for. */
export interface FleetEntry {
  /** With a `count` above one the machines are called NAME-1, NAME-2 and so on. */
  name: string;
  model: string;
  engine: (typeof engines)[number];
  /** In order of preference. */
  types: string[];
  /** Null: any. */
  regions: string[] | null;
  count: number;
  windows: WeeklyWindow[];
  timeZone: string;
  /** What one machine may cost at most; null: whatever it costs. */
  maxCentsPerHour: number | null;
  maxContext: number | null;
  /** Null: never ended for being idle inside a window. */
  idleMs: number | null;
  filesystem: string | null;
  /** The NAME of an environment variable. */
  hfTokenEnv: string | null;
  endpoint: (typeof endpoints)[number];
  /** Who may reach a direct endpoint; null behind a tunnel. */
  allowCidr: string | null;
}

export const leases = block({
  /** Not given: four hours, or the cap when that is shorter. */
  defaultHours: z.number().positive().max(longestLeaseHours).optional(),
  capHours: z.number().positive().max(longestLeaseHours).default(24),
  orphans: z.enum(orphans).default('adopt'),
}).prefault({});

export const deployments = block({
  idleMinutes: z.number().positive().max(longestIdleMinutes).default(30),
  maxReplacements: z.int().min(0).max(10).default(2),
  /** Null: by type. */
  bootMinutes: z.number().positive().max(120).nullable().default(null),
  drainSeconds: z.number().min(0).max(3_600).default(120),
}).prefault({});

export const notices = block({ webhookUrlEnv: environmentName.default('TANDEM_WEBHOOK_URL') }).prefault({});

const days = z.string().transform((text, context): number[] => {
  const found = weekdaysOf(text);
  if (found) return found;
  context.addIssue({
    code: 'custom',
    message: `must be daily, a span such as mon-fri, or a list such as mon,wed; days are ${dayNames.join(', ')}`,
  });
  return z.NEVER;
});

function timeOfDay(last: string) {
  return z.string().transform((text, context): number => {
    const [, hours, minutes] = /^(\d\d):(\d\d)$/.exec(text) ?? [];
    if (hours && minutes && text <= last && minutes < '60') return Number(hours) * 60 + Number(minutes);
    context.addIssue({ code: 'custom', message: `must be a time as "HH:MM", from "00:00" to "${last}"` });
    return z.NEVER;
  });
}

export const weeklyWindow = block({ days, from: timeOfDay('23:59'), to: timeOfDay('24:00') })
  .refine(({ from, to }) => from !== to, {
    path: ['to'],
    error: 'must not be the same as from: the window would be empty; a whole day is from "00:00" to "24:00"',
  })
  .transform(({ days: weekdays, from, to }): WeeklyWindow => ({ weekdays, fromMinute: from, toMinute: to }));

export const fleetEntry = block({
  name: backendId,
  model: z.string().min(1),
  engine: z.enum(engines).default('vllm'),
  types: z.array(z.string().min(1)).min(1),
  regions: z.array(z.string().min(1)).min(1).optional(),
  count: z.int().min(1).max(mostMachines).default(1),
  windows: z.array(weeklyWindow).min(1),
  timeZone: timeZone.optional(),
  maxHourlyUsd: z.number().min(0.01).max(10_000).optional(),
  maxContext: z.int().min(256).optional(),
  idleMinutes: z.number().positive().max(longestIdleMinutes).optional(),
  filesystem: z.string().min(1).optional(),
  hfTokenEnv: environmentName.optional(),
  endpoint: z.enum(endpoints).default('tunnel'),
  allowCidr: z
    .string()
    .regex(/^\d{1,3}(?:\.\d{1,3}){3}\/(?:[89]|[12]\d|3[0-2])$/, {
      error: 'must be a network such as 203.0.113.7/32, from /8 to /32',
    })
    .optional(),
})
  .refine(({ endpoint, allowCidr }) => (endpoint === 'direct') === (allowCidr !== undefined), {
    path: ['allowCidr'],
    error: 'goes with endpoint: direct, and only with it: the network that may reach the model server',
  })
  .refine(({ name, count }) => count === 1 || backendId.safeParse(`${name}-${count}`).success, {
    path: ['name'],
    error: 'must be shorter: the number of each machine is put behind it',
  });

/** `mon-fri`, `mon,wed`, `sat-mon,wed`, `daily` -> 1 (Monday) to 7 in order. Null when it is none of these. */
function weekdaysOf(text: string): number[] | null {
  if (text === 'daily') return [1, 2, 3, 4, 5, 6, 7];
  const found = new Set<number>();
  for (const part of text.split(',')) {
    const [first = '', last = first, ...more] = part.trim().split('-');
    const from = dayNames.indexOf(first);
    const to = dayNames.indexOf(last);
    if (from < 0 || to < 0 || more.length > 0) return null;
    for (let day = from; ; day = (day + 1) % 7) {
      found.add(day + 1);
      if (day === to) break;
    }
  }
  return [...found].sort((one, other) => one - other);
}

/** Every name that an entry takes, raw or read: its own, and those of its machines when there are several. */
export function namesOf(entry: unknown): string[] {
  if (!isObject(entry) || typeof entry.name !== 'string') return [];
  const { name, count } = entry;
  if (typeof count !== 'number' || !(count > 1 && count <= mostMachines)) return [name];
  return [name, ...Array.from({ length: count }, (_, index) => `${name}-${index + 1}`)];
}
