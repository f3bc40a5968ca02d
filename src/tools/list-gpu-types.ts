import { z } from 'zod';
import { hourlyNano, nanoToUsd, usdToNano } from '../money.ts';
import { table, usd } from './text.ts';
import { defineTool } from './tool.ts';

export const listGpuTypes = defineTool({
  name: 'list_gpu_types',
  title: 'List GPU types',
  effect: 'read',
  scope: 'read',
  openWorld: true,
  description: 'Lambda Cloud instance types with price, GPU memory, and the regions that have capacity now.',
  input: z.strictObject({
    available_only: z.boolean().optional(),
    max_hourly_usd: z.number().min(0).optional(),
    min_gpu_memory_gb: z.number().min(0).optional().describe('all GPUs of the instance together'),
  }),
  output: z.object({ types: z.array(z.looseObject({ instance_type: z.string(), price_usd_per_hour: z.number() })) }),
  async handler(input, context) {
    const types = (await context.fleet.types(context.signal))
      .filter((type) => !input.available_only || type.regionsWithCapacity.length > 0)
      .filter(
        (type) =>
          input.max_hourly_usd === undefined || hourlyNano(type.priceCentsPerHour) <= usdToNano(input.max_hourly_usd),
      )
      .filter((type) => (input.min_gpu_memory_gb ?? 0) <= (type.gpuMemoryGb ?? 0) * type.gpus)
      .toSorted((one, other) => one.priceCentsPerHour - other.priceCentsPerHour);
    return {
      types: types.map((type) => ({
        instance_type: type.name,
        price_usd_per_hour: nanoToUsd(hourlyNano(type.priceCentsPerHour)),
        gpu: type.gpuDescription,
        gpus: type.gpus,
        gpu_memory_gb: type.gpuMemoryGb === null ? null : type.gpuMemoryGb * type.gpus,
        vcpus: type.vcpus,
        memory_gib: type.memoryGib,
        architecture: type.architecture,
        regions_with_capacity: type.regionsWithCapacity,
      })),
    };
  },
  render({ types }) {
    if (types.length === 0)
      return 'No instance type fits. Loosen the filters: available_only, max_hourly_usd, min_gpu_memory_gb.';
    const rows = types.map((type) => [
      type.instance_type,
      usd(type.price_usd_per_hour),
      type.gpus === 0 ? '–' : `${type.gpus}x ${type.gpu}`,
      type.gpus === 0 ? '–' : `${type.gpu_memory_gb ?? '?'} GB`,
      `${type.vcpus}`,
      `${type.memory_gib} GiB`,
      String(type.architecture),
      (type.regions_with_capacity as string[]).join(', ') || 'no capacity now',
    ]);
    return table(['type', 'per hour', 'GPU', 'GPU memory', 'vCPUs', 'RAM', 'arch', 'regions with capacity'], rows);
  },
});
