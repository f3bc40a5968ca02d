import * as z from 'zod';
import { type Account, livingMachines } from './account.ts';
import { recordEvent } from './audit.ts';
import { type Region, regionName } from './catalog.ts';
import { Refusal } from './refusal.ts';
import { type Client, type Route, readInput } from './route.ts';

const port = z.int().min(1).max(65_535);

const firewallRule = z
  .object({
    protocol: z.enum(['tcp', 'udp', 'icmp', 'all']),
    port_range: z.tuple([port, port]).optional(),
    source_network: z.union([z.ipv4(), z.cidrv4()]),
    description: z.string().max(128),
  })
  .refine(({ protocol, port_range }) => (protocol === 'icmp') === (port_range === undefined), {
    path: ['port_range'],
    message: 'Not allowed for icmp, required for every other protocol',
  })
  .refine(({ port_range }) => port_range === undefined || port_range[0] <= port_range[1], {
    path: ['port_range'],
    message: 'The lower port comes first',
  });

const rules = z.array(firewallRule);
const rulesetName = z.string().max(64);
const allRules = z.object({ data: rules });
const newRuleset = z.object({ name: rulesetName, region: regionName, rules });
const rulesetPatch = z.object({ name: rulesetName.optional(), rules: rules.optional() });
const globalPatch = z.object({ rules: rules.optional() });

export type FirewallRule = z.infer<typeof firewallRule>;

export interface Ruleset {
  id: string;
  name: string;
  region: Region;
  rules: readonly FirewallRule[];
  created: string;
}

export function firewallRoutes(account: Account): Route[] {
  return [...globalRoutes(account), ...rulesetRoutes(account)];
}

/** Two doors to the same rules. Whether Lambda keeps one list behind both is not documented. */
function globalRoutes(account: Account): Route[] {
  const renderGlobal = (): object => ({
    data: { id: 'global', name: 'Global rules (sandbox)', rules: account.globalRules },
  });
  const replaceRules = (rules: readonly FirewallRule[], client: Client): void => {
    account.globalRules = rules;
    recordChange(account, client, 'updated', 'global');
  };
  return [
    { method: 'GET', path: '/firewall-rules', handle: () => ({ data: account.globalRules }) },
    {
      method: 'PUT',
      path: '/firewall-rules',
      handle: ({ body, client }) => {
        replaceRules(readInput(allRules, body).data, client);
        return { data: account.globalRules };
      },
    },
    { method: 'GET', path: '/firewall-rulesets/global', handle: renderGlobal },
    {
      method: 'PATCH',
      path: '/firewall-rulesets/global',
      handle: ({ body, client }) => {
        replaceRules(readInput(globalPatch, body).rules ?? account.globalRules, client);
        return renderGlobal();
      },
    },
  ];
}

function rulesetRoutes(account: Account): Route[] {
  const { rulesets, ids, clock } = account;

  const find = (id: string): Ruleset => {
    const found = rulesets.find((ruleset) => ruleset.id === id);
    if (found) return found;
    const message = 'Firewall ruleset does not exist or you do not have permission to access it.';
    throw new Refusal('global/object-does-not-exist', { message });
  };
  const usersOf = (id: string): string[] =>
    livingMachines(account)
      .filter(({ rulesetIds }) => rulesetIds.includes(id))
      .map((machine) => machine.id);
  const render = (ruleset: Ruleset): object => ({ ...ruleset, instance_ids: usersOf(ruleset.id) });

  return [
    { method: 'GET', path: '/firewall-rulesets', handle: () => ({ data: rulesets.map(render) }) },
    {
      method: 'POST',
      path: '/firewall-rulesets',
      handle: ({ body, client }) => {
        const input = readInput(newRuleset, body);
        const created = new Date(clock.nowMs()).toISOString();
        const ruleset = { id: ids.hex('firewall-ruleset'), ...input, created };
        rulesets.push(ruleset);
        recordChange(account, client, 'created', ruleset.id);
        return { data: render(ruleset) };
      },
    },
    { method: 'GET', path: '/firewall-rulesets/:id', handle: ({ id }) => ({ data: render(find(id)) }) },
    {
      method: 'PATCH',
      path: '/firewall-rulesets/:id',
      handle: ({ id, body, client }) => {
        const ruleset = find(id);
        Object.assign(ruleset, readInput(rulesetPatch, body));
        recordChange(account, client, 'updated', id);
        return { data: render(ruleset) };
      },
    },
    {
      method: 'DELETE',
      path: '/firewall-rulesets/:id',
      handle: ({ id, client }) => {
        const ruleset = find(id);
        if (usersOf(id).length > 0) throw new Refusal('firewall-rulesets/firewall-ruleset-in-use');
        rulesets.splice(rulesets.indexOf(ruleset), 1);
        recordChange(account, client, 'deleted', id);
        return { data: {} };
      },
    },
  ];
}

function recordChange(account: Account, client: Client, action: 'created' | 'updated' | 'deleted', id: string): void {
  recordEvent(account, client, { resource: 'firewall_ruleset', action, resourceId: id });
}
