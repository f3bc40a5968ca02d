import { describe, expect, it } from 'vitest';
import { rowOf } from '../../src/lambda/fleet-instance.ts';
import { intentTag } from '../../src/lambda/lease.ts';
import { instanceSchema } from '../../src/lambda/schema.ts';
import type { InstanceRow } from '../../src/usage/instance-cost.ts';
import { bareInstance } from '../support/instance-row.ts';

function instance(name: string, tags: { key: string; value: string }[] = []) {
  return instanceSchema.parse({
    id: 'i-1',
    name,
    status: 'active',
    region: { name: 'us-east-1' },
    instance_type: {
      name: 'gpu_1x_a10',
      description: '1x A10 (24 GB PCIe)',
      price_cents_per_hour: 129,
      specs: { vcpus: 30, memory_gib: 200, storage_gib: 1400, gpus: 1 },
    },
    ssh_key_names: ['laptop'],
    file_system_names: [],
    tags,
  });
}

function row(about: Partial<InstanceRow>): InstanceRow {
  return { ...bareInstance, ...about };
}

describe("the ledger's row for a machine", () => {
  it('is found by the tag', () => {
    const tagged = instance('renamed', [{ key: intentTag, value: 'ours' }]);
    expect(rowOf(tagged, [row({})])?.intent_id).toBe('ours');
  });

  it('is found by the id', () => {
    expect(rowOf(instance('renamed'), [row({ instance_id: 'i-1', status: 'active' })])?.intent_id).toBe('ours');
  });

  it('of a launch without answer is found by name and type where the tags are missing', () => {
    expect(rowOf(instance('trainer'), [row({})])?.intent_id).toBe('ours');
  });

  it.each([
    ['a launch that was refused', { status: 'not_launched' }],
    ['a machine with an id of its own', { status: 'active', instance_id: 'i-2' }],
    ['a launch of another type', { instance_type: 'gpu_1x_h100_sxm5' }],
    ['a launch under another name', { name: 'other' }],
  ])('is not that of %s', (_what, about) => {
    expect(rowOf(instance('trainer'), [row(about)])).toBeUndefined();
  });

  it("is not ours when the tag names somebody else's intent", () => {
    const theirs = instance('trainer', [{ key: intentTag, value: 'theirs' }]);
    expect(rowOf(theirs, [row({})])).toBeUndefined();
  });
});
