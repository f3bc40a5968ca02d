import { z } from 'zod';

/**
 * Lambda Cloud's wire format -> our words. Source: the API's OpenAPI document 1.10.0 and what clients have seen live.
 * Unknown fields are dropped (among them `jupyter_token` and `jupyter_url`, which are secrets), unknown enum values
 * tolerated; fields that revisions of the API have added or left out are optional.
 */

const region = z.object({ name: z.string(), description: z.string().nullish() });

const instanceType = z
  .object({
    name: z.string(),
    description: z.string(),
    gpu_description: z.string().nullish(),
    price_cents_per_hour: z.int().min(0),
    specs: z.object({ vcpus: z.int(), memory_gib: z.int(), storage_gib: z.int(), gpus: z.int() }),
    architecture: z.string().nullish(),
  })
  .transform((wire) => ({
    name: wire.name,
    description: wire.description,
    gpuDescription: wire.gpu_description ?? wire.description,
    priceCentsPerHour: wire.price_cents_per_hour,
    gpus: wire.specs.gpus,
    vcpus: wire.specs.vcpus,
    memoryGib: wire.specs.memory_gib,
    storageGib: wire.specs.storage_gib,
    gpuMemoryGb: gpuMemoryGb(wire.gpu_description ?? wire.description),
    // Older revisions do not say it; Grace Hopper is the one type that is not x86.
    architecture: wire.architecture ?? (wire.name.includes('gh200') ? 'arm64' : 'x86_64'),
  }));

/** "H100 (80 GB SXM5)" -> 80, per GPU. Null when the description does not say. */
function gpuMemoryGb(description: string): number | null {
  const found = /(\d+)\s*GB\b/.exec(description);
  return found ? Number(found[1]) : null;
}

/** An object keyed by type name on the wire, a list for us. */
export const instanceTypesSchema = z
  .record(z.string(), z.object({ instance_type: instanceType, regions_with_capacity_available: z.array(region) }))
  .transform((types) =>
    Object.values(types).map((entry) => ({
      ...entry.instance_type,
      regionsWithCapacity: entry.regions_with_capacity_available.map(({ name }) => name),
    })),
  );
export type InstanceType = z.output<typeof instanceTypesSchema>[number];

export const regionsSchema = z.array(region);

export const imagesSchema = z.array(
  z
    .object({
      id: z.string(),
      name: z.string(),
      family: z.string(),
      version: z.string(),
      architecture: z.string(),
      region,
    })
    .transform((image) => ({ ...image, region: image.region.name })),
);

const tag = z.object({ key: z.string(), value: z.string() });
export type Tag = z.output<typeof tag>;

/** `booting`, `active`, `unhealthy`, `terminating`, `terminated`, `preempted`; anything else may still be billing. */
export const instanceSchema = z
  .object({
    id: z.string(),
    name: z.string().nullish(),
    status: z.string(),
    ip: z.string().nullish(),
    hostname: z.string().nullish(),
    region,
    instance_type: instanceType,
    ssh_key_names: z.array(z.string()),
    file_system_names: z.array(z.string()),
    tags: z.array(tag).nullish(),
    firewall_rulesets: z.array(z.object({ id: z.string() })).nullish(),
    /** In neither published revision, but seen: the start of billing. */
    first_healthy: z.string().nullish(),
  })
  .transform((wire) => ({
    id: wire.id,
    name: wire.name ?? null,
    status: wire.status,
    ip: wire.ip ?? null,
    hostname: wire.hostname ?? null,
    region: wire.region.name,
    type: wire.instance_type,
    sshKeyNames: wire.ssh_key_names,
    filesystemNames: wire.file_system_names,
    tags: wire.tags ?? [],
    firewallRulesetIds: (wire.firewall_rulesets ?? []).map(({ id }) => id),
    firstHealthyAtMs: wire.first_healthy ? Date.parse(wire.first_healthy) || null : null,
  }));
export type Instance = z.output<typeof instanceSchema>;
export const instancesSchema = z.array(instanceSchema);

export const launchSchema = z.object({ instance_ids: z.array(z.string()).min(1) });
export const terminateSchema = z.object({ terminated_instances: instancesSchema });
export const restartSchema = z.object({ restarted_instances: instancesSchema });

export const sshKeySchema = z
  .object({ id: z.string(), name: z.string(), public_key: z.string(), private_key: z.string().nullish() })
  .transform((wire) => ({
    id: wire.id,
    name: wire.name,
    publicKey: wire.public_key,
    privateKey: wire.private_key ?? null,
  }));
export const sshKeysSchema = z.array(sshKeySchema);

export const filesystemSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    mount_point: z.string(),
    is_in_use: z.boolean(),
    region,
    bytes_used: z.number().nullish(),
  })
  .transform((wire) => ({
    id: wire.id,
    name: wire.name,
    mountPoint: wire.mount_point,
    isInUse: wire.is_in_use,
    region: wire.region.name,
    bytesUsed: wire.bytes_used ?? null,
  }));
export const filesystemsSchema = z.array(filesystemSchema);
export const deletedFilesystemsSchema = z.object({ deleted_ids: z.array(z.string()) });

const firewallRule = z
  .object({
    protocol: z.string(),
    port_range: z.tuple([z.int(), z.int()]).nullish(),
    source_network: z.string(),
    description: z.string(),
  })
  .transform((wire) => ({
    protocol: wire.protocol,
    portRange: wire.port_range ?? null,
    sourceNetwork: wire.source_network,
    description: wire.description,
  }));
export type FirewallRule = z.output<typeof firewallRule>;
export const firewallRulesSchema = z.array(firewallRule);

export const firewallRulesetSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    region: region.nullish(),
    rules: firewallRulesSchema,
    instance_ids: z.array(z.string()).nullish(),
  })
  .transform((wire) => ({
    id: wire.id,
    name: wire.name,
    /** Null for the global ruleset. */
    region: wire.region?.name ?? null,
    rules: wire.rules,
    instanceIds: wire.instance_ids ?? [],
  }));
export const firewallRulesetsSchema = z.array(firewallRulesetSchema);

export const auditEventsSchema = z.array(
  z
    .object({
      event_id: z.string(),
      event_time: z.string(),
      resource_name: z.string().nullish(),
      action: z.string(),
      resource_lrns: z.array(z.string()).nullish(),
    })
    .transform((wire) => ({
      id: wire.event_id,
      atMs: Date.parse(wire.event_time),
      action: wire.action,
      resourceName: wire.resource_name ?? null,
      resourceLrns: wire.resource_lrns ?? [],
    })),
);
export type AuditEvent = z.output<typeof auditEventsSchema>[number];

export const emptySchema = z.object({}).transform(() => undefined);

export const errorSchema = z.object({
  error: z.object({
    code: z.string(),
    message: z.string().nullish(),
    suggestion: z.string().nullish(),
    request_id: z.string().nullish(),
  }),
});

export function toWireRule(rule: FirewallRule): Record<string, unknown> {
  return {
    protocol: rule.protocol,
    ...(rule.portRange && { port_range: rule.portRange }),
    source_network: rule.sourceNetwork,
    description: rule.description,
  };
}
