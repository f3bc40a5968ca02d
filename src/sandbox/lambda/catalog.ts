import { readFileSync } from 'node:fs';
import * as z from 'zod';
import type { Ids } from './ids.ts';

/** What Lambda rents out and where. Everything here is in the shape in which the API sends it. */

const architecture = z.enum(['x86_64', 'arm64']);

const instanceType = z.object({
  name: z.string(),
  description: z.string(),
  gpu_description: z.string(),
  price_cents_per_hour: z.int(),
  specs: z.object({ vcpus: z.int(), memory_gib: z.int(), storage_gib: z.int(), gpus: z.int() }),
  architecture,
});

const catalogFile = z.object({ types: z.record(z.string(), z.object({ instance_type: instanceType })) });

export type InstanceType = z.infer<typeof instanceType>;

export interface Region {
  name: string;
  description: string;
}

export interface Image {
  id: string;
  name: string;
  description: string;
  family: string;
  version: string;
  architecture: InstanceType['architecture'];
  created_time: string;
  updated_time: string;
  region: Region;
}

export function loadInstanceTypes(): ReadonlyMap<string, InstanceType> {
  // The same path from src/sandbox/lambda and from dist/sandbox/lambda.
  const file = new URL('../../../data/lambda-instance-types-2026-09.json', import.meta.url);
  const { types } = catalogFile.parse(JSON.parse(readFileSync(file, 'utf8')));
  return new Map(Object.values(types).map((entry) => [entry.instance_type.name, entry.instance_type]));
}

const placeByRegion = {
  'us-east-1': 'Virginia, USA',
  'us-east-2': 'Washington DC, USA',
  'us-east-3': 'Washington DC, USA',
  'us-west-1': 'California, USA',
  'us-west-2': 'Arizona, USA',
  'us-west-3': 'Utah, USA',
  'us-south-1': 'Texas, USA',
  'us-south-2': 'North Texas, USA',
  'us-south-3': 'Central Texas, USA',
  'us-midwest-1': 'Illinois, USA',
  'europe-central-1': 'Germany',
  'europe-south-1': 'Italy',
  'me-west-1': 'Israel',
  'asia-south-1': 'India',
  'asia-northeast-1': 'Osaka, Japan',
  'asia-northeast-2': 'Tokyo, Japan',
  'australia-east-1': 'Australia',
};

export const regions: readonly Region[] = Object.entries(placeByRegion).map(([name, place]) => ({
  name,
  description: `${place} (sandbox)`,
}));

/** A region's name in a request body; reads as the region. */
export const regionName = z.string().transform((name, context): Region => {
  const found = regions.find((region) => region.name === name);
  if (found) return found;
  context.addIssue({ code: 'custom', message: `No region is called "${name}"` });
  return z.NEVER;
});

/** A plausible day: small cards in a few places, big ones in one or two. A type that is not here is sold out. */
export const usualCapacity: Readonly<Record<string, readonly string[]>> = {
  gpu_1x_rtx6000: ['us-south-1'],
  gpu_1x_a6000: ['us-south-1'],
  gpu_2x_a6000: ['us-south-1'],
  gpu_1x_a10: ['us-east-1', 'us-west-1'],
  gpu_1x_a100: ['us-west-1'],
  gpu_1x_a100_sxm4: ['us-east-1', 'us-west-2', 'asia-south-1'],
  gpu_8x_a100: ['us-midwest-1'],
  gpu_8x_a100_80gb_sxm4: ['us-midwest-1'],
  gpu_1x_gh200: ['us-east-3'],
  gpu_1x_h100_pcie: ['us-west-3'],
  gpu_1x_h100_sxm5: ['us-south-2', 'us-south-3'],
  gpu_2x_h100_sxm5: ['us-south-3'],
  gpu_8x_h100_sxm5: ['us-south-3', 'europe-central-1'],
  gpu_1x_b200_sxm6: ['us-south-3'],
  gpu_8x_v100: ['us-south-1'],
  cpu_4x_general: ['us-east-1', 'us-west-1', 'us-south-1'],
};

const imageFamilies = [
  { family: 'lambda-stack-22-04', title: 'Lambda Stack 22.04', version: '22.4.4-2141' },
  { family: 'lambda-stack-24-04', title: 'Lambda Stack 24.04', version: '24.4.4-2141' },
  { family: 'gpu-base-24-04', title: 'GPU Base 24.04', version: '24.4.4-2141' },
];

/** What a launch that names no image gets: "the latest Lambda Stack", which in 2026 was still Ubuntu 22.04. */
export const defaultImageFamily = 'lambda-stack-22-04';

/** One entry per image and region, each with its own id, as the API lists them. */
export function createImages(ids: Ids): readonly Image[] {
  const builtAt = '2026-06-01T00:00:00Z';
  return regions.flatMap((region) =>
    architecture.options.flatMap((architecture) =>
      imageFamilies.map(({ family, title, version }) => ({
        id: ids.uuid('image'),
        name: family,
        description: `${title} (sandbox)`,
        family,
        version,
        architecture,
        created_time: builtAt,
        updated_time: builtAt,
        region,
      })),
    ),
  );
}
