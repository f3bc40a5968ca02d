import { nanoPerUsd, usdToNano } from '../money.ts';
import { type FleetEntry, leases, type WeeklyWindow, weeklyWindow } from './fleet-schema.ts';
import { isObject } from './parts.ts';
import type { ConfigFile } from './schema.ts';

/** How long machines may live. */
export interface Leases {
  defaultMs: number;
  /** Nothing renews a lease beyond this after its launch. */
  capMs: number;
  orphans: ConfigFile['leases']['orphans'];
}

export interface Deployments {
  idleMs: number;
  /** How many machines that do not come up are replaced. */
  maxReplacements: number;
  /** How long a machine may take until it is active; null: by type. */
  bootMs: number | null;
  drainMs: number;
}

const nanoPerCent = nanoPerUsd / 100;
const usualLeaseHours = 4;
const minutesPerDay = 1_440;
const minutesPerWeek = 7 * minutesPerDay;
/** The lease of a machine begins at its launch, which is before its window does. */
const leadMinutes = 15;

export function leasesOf({ leases: given }: ConfigFile): Leases {
  const defaultHours = given.defaultHours ?? Math.min(usualLeaseHours, given.capHours);
  return { defaultMs: hoursToMs(defaultHours), capMs: hoursToMs(given.capHours), orphans: given.orphans };
}

export function deploymentsOf({ deployments: given }: ConfigFile): Deployments {
  return {
    idleMs: minutesToMs(given.idleMinutes),
    maxReplacements: given.maxReplacements,
    bootMs: given.bootMinutes === null ? null : minutesToMs(given.bootMinutes),
    drainMs: Math.round(given.drainSeconds * 1_000),
  };
}

export function fleetOf({ fleet }: ConfigFile, defaultTimeZone: string): FleetEntry[] {
  return fleet.map((entry) => ({
    name: entry.name,
    model: entry.model,
    engine: entry.engine,
    types: entry.types,
    regions: entry.regions ?? null,
    count: entry.count,
    windows: entry.windows,
    timeZone: entry.timeZone ?? defaultTimeZone,
    maxCentsPerHour: entry.maxHourlyUsd === undefined ? null : usdToCents(entry.maxHourlyUsd),
    maxContext: entry.maxContext ?? null,
    idleMs: entry.idleMinutes === undefined ? null : minutesToMs(entry.idleMinutes),
    filesystem: entry.filesystem ?? null,
    hfTokenEnv: entry.hfTokenEnv ?? null,
    endpoint: entry.endpoint,
    allowCidr: entry.allowCidr ?? null,
  }));
}

/** What is wrong between keys of a raw file that are each right by themselves. Reads what it can. */
export function fleetProblems(file: unknown): string[] {
  const given = leases.safeParse(isObject(file) ? file.leases : undefined);
  const limits = given.success ? given.data : null;
  const problems: string[] = [];
  if (limits?.defaultHours !== undefined && limits.defaultHours > limits.capHours)
    problems.push(`leases.defaultHours: must not be more than leases.capHours (${limits.capHours})`);
  const fleet = isObject(file) && Array.isArray(file.fleet) ? file.fleet : [];
  for (const [index, entry] of fleet.entries()) {
    const windows = readableWindows(entry).map(([at, window]) => ({ window, path: `fleet[${index}].windows[${at}]` }));
    for (const [at, { window, path }] of windows.entries()) {
      const other = windows.slice(0, at).find((earlier) => overlap(earlier.window, window));
      if (other) problems.push(`${path}: overlaps with ${other.path}; one machine cannot be wanted twice`);
      const neededHours = (lengthMinutes(window) + leadMinutes) / 60;
      if (limits && neededHours > limits.capHours)
        problems.push(
          `${path}: it and the quarter of an hour in which a machine starts are longer than a lease may be (leases.capHours: ${limits.capHours}); raise leases.capHours to ${Math.ceil(neededHours * 100) / 100}, or make shorter windows of it that follow each other`,
        );
    }
  }
  return problems;
}

function readableWindows(entry: unknown): [index: number, window: WeeklyWindow][] {
  const windows = isObject(entry) && Array.isArray(entry.windows) ? entry.windows : [];
  return windows.flatMap((raw, index): [number, WeeklyWindow][] => {
    const { data } = weeklyWindow.safeParse(raw);
    return data ? [[index, data]] : [];
  });
}

/** By the clock on the wall. */
function lengthMinutes({ fromMinute, toMinute }: WeeklyWindow): number {
  return toMinute > fromMinute ? toMinute - fromMinute : toMinute + minutesPerDay - fromMinute;
}

function overlap(one: WeeklyWindow, other: WeeklyWindow): boolean {
  const startsOf = ({ weekdays, fromMinute }: WeeklyWindow) =>
    weekdays.map((day) => (day - 1) * minutesPerDay + fromMinute);
  return startsOf(one).some((start) =>
    startsOf(other).some((otherStart) => {
      const later = (otherStart - start + minutesPerWeek) % minutesPerWeek;
      return later < lengthMinutes(one) || minutesPerWeek - later < lengthMinutes(other);
    }),
  );
}

function hoursToMs(hours: number): number {
  return Math.round(hours * 3_600_000);
}

function minutesToMs(minutes: number): number {
  return Math.round(minutes * 60_000);
}

/** Rounded down: a price above the given one is above the cap. */
function usdToCents(usd: number): number {
  return Math.floor(usdToNano(usd) / nanoPerCent);
}
