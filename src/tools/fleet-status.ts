import { z } from 'zod';
import type { DeploymentStatus, FleetStatus } from '../lambda/fleet-status.ts';
import { duration, table } from './text.ts';
import { defineTool, type ToolContext } from './tool.ts';

const item = z.looseObject({});

export const fleetStatus = defineTool({
  name: 'fleet_status',
  title: 'Fleet status',
  effect: 'read',
  scope: 'read',
  openWorld: true,
  description:
    'What should run against what does: schedules and their next change, deployments, hunts, who enforces leases, machines that nobody recorded, last notices.',
  input: z.strictObject({}),
  output: z.object({
    schedules: z.array(item),
    deployments: z.array(item),
    hunts: z.array(item),
    keeper: item.nullable(),
    account: item,
    notices: z.array(item),
  }),
  async handler(_input, context) {
    const status = await context.fleetStatus(context.signal);
    const at = (ms: number | null) => (ms === null ? null : context.calendar.format(ms));
    return {
      schedules: status.entries.map((entry) => ({
        name: entry.name,
        model: entry.model,
        machines: entry.machines,
        wanted: entry.wanted,
        ready: entry.ready,
        next_change: entry.nextChange && `${entry.nextChange.what} ${at(entry.nextChange.atMs)}`,
        launches_at: at(entry.launchesAtMs),
        times_in: context.calendar.timeZone,
      })),
      deployments: status.deployments.map((deployment) => presentDeployment(deployment, context)),
      hunts: status.hunts.map(({ row, types }) => ({
        id: row.id,
        types,
        state: row.state,
        until: at(row.until_ms),
        tries: row.tries,
        problem: row.problem,
        deployment:
          status.deployments.find(({ row: { id } }) => id === row.deployment_id)?.row.name ?? row.deployment_id,
      })),
      keeper: presentKeeper(status),
      account: presentAccount(status, context),
      notices: status.notices.map(({ kind, text, at_ms: atMs, sent_at_ms: sentAtMs }) => ({
        kind,
        text,
        at: at(atMs),
        sent: sentAtMs !== null,
      })),
    };
  },
  render({ schedules, deployments, hunts, keeper, account, notices }) {
    const parts = [
      section(
        schedules[0] ? `Schedules, times in ${schedules[0].times_in}` : 'Schedules',
        ['name', 'model', 'machines', 'wanted', 'ready', 'next_change', 'launches_at'],
        schedules,
      ),
      section('Deployments', ['name', 'model', 'state', 'since', 'instance', 'lease_ends_at', 'reason'], deployments),
      section('Hunts for capacity', ['id', 'deployment', 'types', 'state', 'until', 'problem'], hunts),
      keeperLine(keeper),
      accountLines(account),
      notices.length > 0 &&
        `Last notices:\n${notices.map(({ at, kind, text }) => `- ${at} ${kind}: ${text}`).join('\n')}`,
    ];
    return parts.filter((part) => part).join('\n\n');
  },
});

function presentDeployment(
  { row, model, engine, types, instance }: DeploymentStatus,
  { calendar, clock }: ToolContext,
) {
  return {
    id: row.id,
    name: row.name,
    model,
    engine,
    state: row.state,
    since: duration(clock.nowMs() - row.state_since_ms),
    reason: row.reason,
    types,
    machines: row.machines,
    instance: instance && `${instance.instanceType} in ${instance.region}, ${instance.status}`,
    instance_id: instance?.id ?? null,
    lease_ends_at: instance?.lease ? calendar.format(instance.lease.expiresAtMs) : null,
    drains_at: row.until_ms === null ? null : calendar.format(row.until_ms),
    scheduled: row.slot !== null,
  };
}

function presentKeeper({ keeper }: FleetStatus) {
  if (!keeper) return null;
  const { row, beatAgeMs, isAlive } = keeper;
  return {
    process: row.owner,
    command: row.command,
    last_beat_seconds_ago: Math.round(beatAgeMs / 1000),
    alive: isAlive,
    list_read_seconds_ago:
      row.listed_at_ms === null ? null : Math.round((row.beat_at_ms - row.listed_at_ms + beatAgeMs) / 1000),
  };
}

function presentAccount({ findings, problem, instances }: FleetStatus, { calendar }: ToolContext) {
  if (!findings) return { problem: problem ?? 'not compared yet' };
  const names = (machines: readonly { name: string; id: string; instanceType: string }[]) =>
    machines.map(({ name, id, instanceType }) => ({ name, id, instance_type: instanceType }));
  return {
    instances: instances.length,
    orphans_adopted: names(findings.adopted),
    not_ours: names(findings.unmanaged),
    overdue: findings.overdue.map((machine) => ({
      ...names([machine])[0],
      lease_ended_at: calendar.format(machine.expiredAtMs),
    })),
    price_drift: findings.drift.map((machine) => ({
      ...names([machine])[0],
      planned_usd_per_hour: machine.plannedCentsPerHour / 100,
      price_usd_per_hour: machine.priceCentsPerHour / 100,
    })),
  };
}

type Row = Record<string, unknown>;

/** Where a column says more to people than its key does. */
const headings: Record<string, string> = { wanted: 'wanted now', since: 'for' };

function section(title: string, columns: string[], rows: readonly Row[]): string {
  if (rows.length === 0) return `${title}: none.`;
  const cells = rows.map((row) => columns.map((column) => cell(row[column])));
  return `${title}:\n${table(
    columns.map((column) => headings[column] ?? column.replaceAll('_', ' ')),
    cells,
  )}`;
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return '–';
  return Array.isArray(value) ? value.join(', ') : String(value);
}

function keeperLine(keeper: Row | null): string {
  if (!keeper)
    return 'Keeper: none. Nobody enforces leases now; one starts with the next lease, or run `tandem watch`.';
  const { process, command, alive, last_beat_seconds_ago: age } = keeper;
  const dead = alive ? '' : ' It is dead: another one takes over, or run `tandem watch`.';
  return `Keeper: ${command} (${process}), last beat ${age} s ago.${dead}`;
}

function accountLines(account: Row): string {
  if (account.problem !== undefined) return `Account: could not be compared (${account.problem}).`;
  const list = (machines: unknown) => (machines as Row[]).map(({ name, id }) => `${name} (${id})`).join(', ');
  const found = [
    ['Orphans taken in', account.orphans_adopted],
    ['Not launched by Tandem', account.not_ours],
    ['Past their lease', account.overdue],
    ['Billed at another price than planned', account.price_drift],
  ].filter(([, machines]) => (machines as unknown[]).length > 0);
  const lines = found.map(([what, machines]) => `- ${what}: ${list(machines)}`);
  const machines = account.instances === 1 ? '1 machine' : `${account.instances || 'no'} machines`;
  return [`Account: ${machines}${found.length === 0 ? ', as in the ledger.' : '.'}`, ...lines].join('\n');
}
