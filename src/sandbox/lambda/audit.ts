import * as z from 'zod';
import type { Account } from './account.ts';
import type { Machine } from './machine.ts';
import { type Client, paginate, type Route, readInput } from './route.ts';

export interface AuditEntry {
  id: string;
  atMs: number;
  resource: 'instance' | 'ssh_key' | 'filesystem' | 'firewall_ruleset';
  action: string;
  resourceId: string;
  details: Record<string, unknown>;
  /** Null for what a colleague did in the console. */
  client: Client | null;
}

const pageSize = 50;

const auditQuery = z.object({
  start: z.iso.datetime({ offset: true }).optional(),
  end: z.iso.datetime({ offset: true }).optional(),
  resource_type: z.string().optional(),
  page_token: z.string().optional(),
});

/** The names of the actions are a guess: Lambda's event catalogue was not at hand. */
export function recordEvent(
  account: Account,
  client: Client | null,
  event: Pick<AuditEntry, 'resource' | 'action' | 'resourceId'> & Partial<Pick<AuditEntry, 'atMs' | 'details'>>,
): void {
  const lrn = `lrn:cloud:${event.resource}:${event.resourceId}`;
  account.auditLog.push({
    atMs: account.clock.nowMs(),
    ...event,
    id: account.ids.hex('audit-event'),
    details: { [`${event.resource}_lrn`]: lrn, ...event.details },
    client,
  });
}

export function recordMachineEvent(
  account: Account,
  client: Client | null,
  machine: Machine,
  action: 'launched' | 'restarted' | 'terminated' | 'updated',
): void {
  recordEvent(account, client, {
    resource: 'instance',
    action,
    resourceId: machine.id,
    details: { instance_type: machine.type.name, region: machine.region.name },
    ...(action === 'launched' ? { atMs: machine.launchedAtMs } : {}),
  });
}

export function auditRoutes(account: Account): Route[] {
  return [
    {
      method: 'GET',
      path: '/audit-events',
      handle: ({ query }) => {
        const { start, end, resource_type, page_token } = readInput(auditQuery, query);
        const fromMs = start === undefined ? Number.NEGATIVE_INFINITY : Date.parse(start);
        const toMs = end === undefined ? Number.POSITIVE_INFINITY : Date.parse(end);
        const matching = account.auditLog
          .filter(({ atMs }) => atMs >= fromMs && atMs <= toMs)
          .filter(({ resource }) => resource_type === undefined || resource_type === `cloud.${resource}`)
          .toSorted((a, b) => a.atMs - b.atMs);
        const { page, nextToken } = paginate(matching, pageSize, page_token);
        return { data: page.map((entry) => renderEvent(account, entry)), page_token: nextToken };
      },
    },
  ];
}

function renderEvent({ owner, revision }: Account, entry: AuditEntry): object {
  const { client } = entry;
  const early = {
    event_id: entry.id,
    event_time: new Date(entry.atMs).toISOString(),
    service_name: 'cloud',
    resource_name: entry.resource,
    action: entry.action,
    catalog_version: '2025-09-06',
    actor_lrn: `lrn:cloud:identity:${client ? owner.userId : owner.colleagueId}`,
    resource_lrns: [`lrn:cloud:${entry.resource}:${entry.resourceId}`],
    resource_owner_lrn: `lrn:cloud:account:${owner.accountId}`,
    request_api_key_lrn: client ? `lrn:cloud:api_key:${owner.apiKeyId}` : null,
    additional_details: entry.details,
  };
  if (revision === 'early') return early;
  return {
    ...early,
    actor_email: client ? 'owner@sandbox.invalid' : 'colleague@sandbox.invalid',
    actor_display_name: client ? 'Owner (sandbox)' : 'Colleague (sandbox)',
    workspace_lrn: `lrn:cloud:workspace:${owner.accountId}`,
    client_ip: client?.ip ?? null,
    client_user_agent: client?.userAgent ?? null,
    surface: client ? 'api' : 'console',
    result: { status: 'success', status_code: 200 },
  };
}
