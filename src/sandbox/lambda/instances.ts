import * as z from 'zod';
import { type Account, findMachine, visibleMachines } from './account.ts';
import { recordMachineEvent } from './audit.ts';
import { renderInstance } from './instance-wire.ts';
import { instanceName, launchMachine, tagList } from './launch.ts';
import { type Machine, statusAt, terminationAt } from './machine.ts';
import { Refusal } from './refusal.ts';
import { type Call, paginate, type Route, readInput } from './route.ts';

const listQuery = z.object({ cluster_id: z.string().optional(), page_token: z.string().optional() });
const idList = z.object({ instance_ids: z.array(z.string()) });

export function instanceRoutes(account: Account): Route[] {
  return [
    { method: 'GET', path: '/instances', handle: (call) => list(account, call) },
    {
      method: 'GET',
      path: '/instances/:id',
      handle: ({ id }) => ({ data: renderInstance(account, findMachine(account, id)) }),
    },
    { method: 'POST', path: '/instances/:id', handle: (call) => modify(account, call) },
    { method: 'POST', path: '/instance-operations/launch', handle: (call) => launch(account, call) },
    { method: 'POST', path: '/instance-operations/restart', handle: (call) => restart(account, call) },
    { method: 'POST', path: '/instance-operations/terminate', handle: (call) => terminate(account, call) },
  ];
}

function list(account: Account, { query }: Call): object {
  const { cluster_id, page_token } = readInput(listQuery, query);
  // No machine here is part of a cluster.
  const machines = cluster_id === undefined ? visibleMachines(account) : [];
  const { pageSize } = account.faults.shape;
  const render = (machine: Machine) => renderInstance(account, machine);
  if (pageSize === null) return { data: machines.map(render) };
  const { page, nextToken } = paginate(machines, pageSize, page_token);
  return { data: page.map(render), page_token: nextToken };
}

function modify(account: Account, { id, body, client }: Call): object {
  const machine = findMachine(account, id);
  const tags = account.revision === 'late' ? tagList(account) : z.never('Extra inputs are not permitted');
  const patch = readInput(z.object({ name: instanceName.optional(), tags: tags.optional() }), body);
  if (patch.tags && account.faults.tagsImmutable) {
    throw new Refusal('global/invalid-parameters', { message: 'tags: Cannot be changed after the launch' });
  }
  machine.name = patch.name ?? machine.name;
  machine.tags = patch.tags ?? machine.tags;
  recordMachineEvent(account, client, machine, 'updated');
  return { data: renderInstance(account, machine) };
}

function launch(account: Account, { body, client }: Call): object {
  const machine = launchMachine(account, body);
  recordMachineEvent(account, client, machine, 'launched');
  return { data: { instance_ids: [machine.id] } };
}

/** One unknown id, or one machine that cannot be restarted, and nothing happens to the others either. */
function restart(account: Account, { body, client }: Call): object {
  const nowMs = account.clock.nowMs();
  const machines = readMachines(account, body);
  const isUp = (machine: Machine) => ['active', 'unhealthy'].includes(statusAt(machine, nowMs));
  if (!machines.every(isUp)) throw new Refusal('global/conflict');
  for (const machine of machines) {
    machine.restartedAtMs = nowMs;
    recordMachineEvent(account, client, machine, 'restarted');
  }
  return { data: { restarted_instances: machines.map((machine) => renderInstance(account, machine)) } };
}

function terminate(account: Account, { body, client }: Call): object {
  const { faults, clock } = account;
  const machines = readMachines(account, body);

  if (faults.terminate.ignoreTimes > 0) {
    faults.terminate.ignoreTimes -= 1;
    const promised = machines.map((machine) => ({ ...renderInstance(account, machine), status: 'terminating' }));
    return { data: { terminated_instances: promised } };
  }

  const requestedAtMs = clock.nowMs();
  for (const machine of machines.filter(({ termination }) => termination === null)) {
    machine.termination = terminationAt(requestedAtMs, faults.terminate.durationMs, 'api');
    recordMachineEvent(account, client, machine, 'terminated');
  }
  if (faults.terminate.omitFromAnswerTimes > 0) {
    faults.terminate.omitFromAnswerTimes -= 1;
    return { data: { terminated_instances: [] } };
  }
  return { data: { terminated_instances: machines.map((machine) => renderInstance(account, machine)) } };
}

function readMachines(account: Account, body: unknown): Machine[] {
  const { instance_ids } = readInput(idList, body);
  return [...new Set(instance_ids)].map((id) => findMachine(account, id));
}
