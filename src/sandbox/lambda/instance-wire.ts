import type { Account } from './account.ts';
import type { InstanceType } from './catalog.ts';
import { activeAtMs, hasAddress, isTerminated, type Machine, statusAt } from './machine.ts';

/** A machine as the API shows it now. Absent optional fields are undefined, or null where that fault is on. */
export function renderInstance(account: Account, machine: Machine): object {
  const { faults, revision } = account;
  const nowMs = account.clock.nowMs();
  const status = statusAt(machine, nowMs);
  const ip = hasAddress(machine, nowMs) ? machine.ip : undefined;
  const filesystemMounts = machine.mounts.map(({ mountPoint, filesystemId }) => ({
    mount_point: mountPoint,
    file_system_id: filesystemId,
  }));
  const optional = {
    name: machine.name ?? undefined,
    ip,
    private_ip: ip && machine.privateIp,
    hostname: machine.hostname ?? (ip && `sandbox-${ip.replaceAll('.', '-')}`),
    ...renderJupyter(machine, status === 'active'),
  };
  const firstActiveAtMs = activeAtMs(machine, nowMs);

  return {
    id: machine.id,
    ...(faults.shape.nullOptionals ? nullsForUndefined(optional) : optional),
    status: status === 'active' ? (faults.shape.unknownStatus ?? status) : status,
    ssh_key_names: machine.sshKeyNames,
    file_system_names: machine.mounts.map(({ filesystemName }) => filesystemName),
    file_system_mounts: filesystemMounts.length > 0 ? filesystemMounts : undefined,
    region: machine.region,
    instance_type: renderInstanceType(account, machine.type, machine.priceCentsPerHour),
    actions: renderActions(account, machine),
    tags: machine.tags,
    firewall_rulesets: machine.rulesetIds.map((id) => ({ id })),
    image:
      revision === 'late' && !isTerminated(machine, nowMs)
        ? { id: machine.image.id, family: machine.image.family }
        : undefined,
    first_healthy:
      faults.shape.firstHealthy && firstActiveAtMs !== null ? new Date(firstActiveAtMs).toISOString() : undefined,
  };
}

export function renderInstanceType(
  { faults, revision }: Account,
  { architecture, ...type }: InstanceType,
  priceCentsPerHour: number,
): object {
  const showsArchitecture = revision === 'late' && !faults.shape.omitArchitecture;
  return {
    ...type,
    price_cents_per_hour: priceCentsPerHour,
    architecture: showsArchitecture ? architecture : undefined,
  };
}

/** Both are secrets on the real API; these open nothing, but look alike, so that a client that leaks them shows. */
function renderJupyter({ id, jupyterToken }: Machine, isActive: boolean): Record<string, string | undefined> {
  return {
    jupyter_token: isActive ? jupyterToken : undefined,
    jupyter_url: isActive ? `https://jupyter-${id}.sandbox.invalid/?token=${jupyterToken}` : undefined,
  };
}

function renderActions({ clock, revision }: Account, machine: Machine): object {
  const status = statusAt(machine, clock.nowMs());
  const isEnding = status === 'terminating' || status === 'terminated';
  const available = { available: true };
  const blockedBy = (reasonCode: string, reason: string): object => ({
    available: false,
    reason_code: reasonCode,
    reason_description: `${reason} (sandbox)`,
  });

  const ending = blockedBy('vm-is-terminating', 'The instance is terminating.');
  const booting =
    machine.restartedAtMs === null
      ? blockedBy('vm-has-not-launched', 'The instance has not launched yet.')
      : blockedBy('vm-action-in-progress', 'The instance is restarting.');
  const disruptive = isEnding ? ending : status === 'booting' ? booting : available;
  return {
    migrate: disruptive,
    rebuild: disruptive,
    restart: disruptive,
    cold_reboot: disruptive,
    ...(revision === 'late' ? { power_cycle: disruptive } : {}),
    terminate: isEnding ? ending : available,
  };
}

function nullsForUndefined(fields: Record<string, string | undefined>): Record<string, string | null> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, value ?? null]));
}
