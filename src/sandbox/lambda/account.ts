import type { Clock } from '../../clock.ts';
import type { AuditEntry } from './audit.ts';
import { createImages, type Image, type InstanceType, loadInstanceTypes, usualCapacity } from './catalog.ts';
import { defaultFaults, type LambdaFaults } from './faults.ts';
import type { Filesystem } from './filesystems.ts';
import type { FirewallRule, Ruleset } from './firewall.ts';
import { createIds, type Ids } from './ids.ts';
import { isForgotten, isTerminated, type Machine } from './machine.ts';
import { Refusal } from './refusal.ts';
import type { SshKey } from './ssh-keys.ts';

/** `early` = the API as published as 1.10.0; `late` = a later state of it under the same number. */
export type Revision = 'early' | 'late';

/** The only state there is: one customer's account. Routes are functions over it. */
export interface Account {
  readonly clock: Clock;
  readonly revision: Revision;
  readonly faults: LambdaFaults;
  readonly ids: Ids;
  readonly owner: {
    readonly accountId: string;
    readonly userId: string;
    readonly colleagueId: string;
    readonly apiKeyId: string;
  };
  readonly instanceTypes: ReadonlyMap<string, InstanceType>;
  readonly images: readonly Image[];
  /** Every machine ever made, in order of launch. */
  readonly machines: Machine[];
  readonly sshKeys: SshKey[];
  readonly filesystems: Filesystem[];
  readonly rulesets: Ruleset[];
  globalRules: readonly FirewallRule[];
  readonly auditLog: AuditEntry[];
}

export function openAccount(clock: Clock, revision: Revision, seed: number): Account {
  const ids = createIds(seed);
  return {
    clock,
    revision,
    faults: defaultFaults(),
    ids,
    owner: {
      accountId: ids.hex('account'),
      userId: ids.hex('user'),
      colleagueId: ids.hex('user'),
      apiKeyId: ids.hex('api-key'),
    },
    instanceTypes: loadInstanceTypes(),
    images: createImages(ids),
    machines: [],
    sshKeys: [
      { id: ids.hex('ssh-key'), name: 'laptop', public_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPsandbox laptop' },
    ],
    filesystems: [],
    rulesets: [],
    globalRules: [
      { protocol: 'icmp', source_network: '0.0.0.0/0', description: 'Allow ping from anywhere (sandbox)' },
      {
        protocol: 'tcp',
        port_range: [22, 22],
        source_network: '0.0.0.0/0',
        description: 'Allow SSH from anywhere (sandbox)',
      },
    ],
    auditLog: [],
  };
}

/** The machines that the API still shows. */
export function visibleMachines({ machines, clock }: Account): Machine[] {
  return machines.filter((machine) => !isForgotten(machine, clock.nowMs()));
}

/** The machines that hold on to quota, filesystems and rulesets. */
export function livingMachines({ machines, clock }: Account): Machine[] {
  return machines.filter((machine) => !isTerminated(machine, clock.nowMs()));
}

export function findMachine(account: Account, id: string): Machine {
  const found = visibleMachines(account).find((machine) => machine.id === id);
  if (!found) throw new Refusal('global/object-does-not-exist', { message: 'Specified instance does not exist.' });
  return found;
}

export function priceCentsPerHour({ faults }: Account, type: InstanceType): number {
  return faults.priceCentsPerHour[type.name] ?? type.price_cents_per_hour;
}

export function regionsWithCapacity({ faults, clock }: Account, typeName: string): readonly string[] {
  if (clock.nowMs() < (faults.soldOutUntilMs[typeName] ?? 0)) return [];
  return faults.capacity[typeName] ?? usualCapacity[typeName] ?? [];
}
