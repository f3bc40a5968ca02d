import { z } from 'zod';
import type { FleetInstance } from '../lambda/fleet-instance.ts';
import { instanceCostNano, nanoToUsd } from '../money.ts';
import { duration, table, usd } from './text.ts';
import { defineTool, type ToolContext } from './tool.ts';

const hourMs = 3_600_000;

export const listGpuInstances = defineTool({
  name: 'list_gpu_instances',
  title: 'List GPU instances',
  effect: 'read',
  scope: 'read',
  openWorld: true,
  description:
    'Running Lambda Cloud instances with status, age, price and cost so far. Poll it after launch_instance until active.',
  input: z.strictObject({}),
  output: z.object({
    instances: z.array(z.looseObject({ id: z.string().nullable(), name: z.string(), status: z.string() })),
  }),
  async handler(_input, context) {
    const instances = await context.fleet.list(context.signal);
    return { instances: instances.map((instance) => presentInstance(instance, context)) };
  },
  render({ instances }) {
    if (instances.length === 0) return 'No GPU instances. Nothing is being billed.';
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
      String(instance.endpoint ?? '–'),
      instance.managed ? 'yes' : 'no',
      instance.id ?? 'not known yet',
    ]);
    return table(
      ['name', 'type', 'region', 'status', 'ip', 'age', 'price', 'cost so far', 'at most', 'endpoint', 'managed', 'id'],
      rows,
    );
  },
});

/** One instance as tools show it. Cost is an estimate; Lambda's invoice is authoritative. */
export function presentInstance(instance: FleetInstance, context: ToolContext) {
  return {
    id: instance.id,
    name: instance.name,
    instance_type: instance.instanceType,
    region: instance.region,
    status: instance.status,
    ip: instance.ip,
    age_seconds: instance.ageMs === null ? null : Math.round(instance.ageMs / 1000),
    price_usd_per_hour: nanoToUsd(instanceCostNano(instance.priceCentsPerHour, hourMs)),
    cost_so_far_usd: nanoToUsd(instance.cost?.costNanoUsd ?? null),
    cost_upper_bound_usd: nanoToUsd(instance.cost?.upperNanoUsd ?? null),
    endpoint: context.endpointOf(instance),
    managed: instance.managed,
  };
}
