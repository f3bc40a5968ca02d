import { z } from 'zod';
import type { FleetInstance } from '../lambda/fleet-instance.ts';
import { isEnding } from '../lambda/terminate.ts';
import { hourlyNano, nanoToUsd } from '../money.ts';
import { specOf } from '../usage/deployments.ts';
import { type HuntRow, wishOf } from '../usage/hunts.ts';
import { duration, table, usd } from './text.ts';
import { defineTool, type ToolContext } from './tool.ts';

export const listGpuInstances = defineTool({
  name: 'list_gpu_instances',
  title: 'List GPU instances',
  effect: 'read',
  scope: 'read',
  openWorld: true,
  description:
    'Running Lambda Cloud instances with status, age, price, cost so far and lease end, and hunts for capacity. Poll it after launch_instance until active.',
  input: z.strictObject({}),
  output: z.object({
    instances: z.array(z.looseObject({ id: z.string().nullable(), name: z.string(), status: z.string() })),
    hunts: z.array(z.looseObject({ id: z.string() })).optional(),
  }),
  async handler(_input, context) {
    const instances = await context.fleet.list(context.signal);
    const deployments = await context.deployments.live();
    const hunts = await context.hunts.live();
    return {
      instances: instances.map((instance) => {
        const deployment = deployments.find((row) => row.intent_id !== null && row.intent_id === instance.intentId);
        const serves = deployment && { serves: specOf(deployment).model, deployment: deployment.state };
        return { ...presentInstance(instance, context), ...serves };
      }),
      ...(hunts.length > 0 && { hunts: hunts.map((hunt) => presentHunt(hunt, context)) }),
    };
  },
  render({ instances, hunts = [] }) {
    const hunting = hunts.map(
      (hunt) =>
        `Hunt ${hunt.id}: ${hunt.state} for ${(hunt.types as string[]).join(', ')} until ${hunt.until}${hunt.problem ? ` (${hunt.problem})` : ''}`,
    );
    if (instances.length === 0) return ['No GPU instances. Nothing is being billed.', ...hunting].join('\n');
    const rows = instances.map((instance) => [
      instance.name,
      String(instance.instance_type),
      String(instance.region),
      instance.status,
      String(instance.ip ?? '–'),
      duration(instance.age_seconds === null ? null : Number(instance.age_seconds) * 1000),
      `${usd(Number(instance.price_usd_per_hour))}/h`,
      usd(instance.cost_so_far_usd as number | null),
      usd(instance.cost_upper_bound_usd as number | null),
      leaseText(instance),
      String(instance.endpoint ?? (instance.serves ? `${instance.serves}, ${instance.deployment}` : '–')),
      instance.managed ? 'yes' : 'no',
      instance.id ?? 'not known yet',
    ]);
    const listed = table(
      [
        ...['name', 'type', 'region', 'status', 'ip', 'age', 'price', 'cost so far', 'at most'],
        ...['lease ends', 'endpoint', 'managed', 'id'],
      ],
      rows,
    );
    return [listed, ...hunting].join('\n');
  },
});

function presentHunt(row: HuntRow, { calendar }: ToolContext) {
  const { types, regions } = wishOf(row);
  return { id: row.id, state: row.state, types, regions, until: calendar.format(row.until_ms), problem: row.problem };
}

function leaseText(instance: Record<string, unknown>): string {
  const leftMs = Number(instance.lease_left_seconds) * 1000;
  if (instance.lease_ends_at === null) return '–';
  return instance.overdue ? `overdue ${duration(-leftMs)}` : `in ${duration(leftMs)}`;
}

/** One instance as tools show it. Cost is an estimate; Lambda's invoice is authoritative. */
export function presentInstance(instance: FleetInstance, context: ToolContext) {
  const endsAtMs = isEnding(instance.status) ? null : (instance.lease?.expiresAtMs ?? null);
  const leftMs = endsAtMs === null ? null : endsAtMs - context.clock.nowMs();
  return {
    id: instance.id,
    name: instance.name,
    instance_type: instance.instanceType,
    region: instance.region,
    status: instance.status,
    ip: instance.ip,
    age_seconds: instance.ageMs === null ? null : Math.round(instance.ageMs / 1000),
    price_usd_per_hour: nanoToUsd(hourlyNano(instance.priceCentsPerHour)),
    cost_so_far_usd: nanoToUsd(instance.cost?.costNanoUsd ?? null),
    cost_upper_bound_usd: nanoToUsd(instance.cost?.upperNanoUsd ?? null),
    endpoint: context.endpointOf(instance),
    managed: instance.managed,
    /** Null: no lease ends it. */
    lease_ends_at: endsAtMs === null ? null : context.calendar.format(endsAtMs),
    lease_left_seconds: leftMs === null ? null : Math.round(leftMs / 1000),
    overdue: leftMs !== null && leftMs <= 0,
  };
}
