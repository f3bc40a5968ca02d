import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { AppError } from '../../errors.ts';
import type { LambdaClient } from '../client.ts';
import type { FirewallRule } from '../schema.ts';
import { modelServerPort } from './spec.ts';

/** Every port of a machine there is open, whatever its rules say. Source: the API's document, firewall rules. */
const regionsWithoutRules = ['us-south-1'];
/** Of a ruleset's name. */
const longestName = 64;

/** Throws `invalid_input` for what is no network, or the whole internet. */
export function requireNetwork(network: string | null): string {
  const [address = '', bits = '', ...rest] = (network ?? '').split('/');
  const isNetwork = isIP(address) === 4 && rest.length === 0 && /^\d{1,2}$/.test(bits) && Number(bits) <= 32;
  if (network !== null && isNetwork && Number(bits) >= 8) return network;
  throw new AppError(
    'invalid_input',
    network === null
      ? 'An endpoint of kind direct is for one network, and none is named.'
      : `"${network.slice(0, 60)}" is no network that a model server can be opened to.`,
    { next: 'Give allow_cidr, such as 203.0.113.7/32 for one address (at least /8), or use endpoint tunnel.' },
  );
}

/** The ruleset that lets one network in to the model server: found by its name, else made. Returns its id. */
export async function openToNetwork(
  client: LambdaClient,
  { name, region, network }: { name: string; region: string; network: string },
  signal: AbortSignal,
): Promise<string> {
  if (regionsWithoutRules.includes(region)) {
    throw new AppError('invalid_input', `In ${region} no firewall rule applies, so every port of a machine is open.`, {
      next: 'Choose another region, or use endpoint tunnel.',
    });
  }
  const rules: FirewallRule[] = [
    {
      protocol: 'tcp',
      portRange: [modelServerPort, modelServerPort],
      sourceNetwork: network,
      description: 'Tandem: the model server',
    },
  ];
  const wanted = rulesetName(name);
  const known = (await client.listFirewallRulesets(signal)).find(
    (ruleset) => ruleset.name === wanted && ruleset.region === region,
  );
  if (!known) return (await client.createFirewallRuleset({ name: wanted, region, rules }, signal)).id;
  const [rule] = known.rules;
  const isRight =
    known.rules.length === 1 &&
    rule?.protocol === 'tcp' &&
    rule.sourceNetwork === network &&
    rule.portRange?.every((port) => port === modelServerPort) === true;
  if (!isRight) await client.updateFirewallRuleset(known.id, rules, signal);
  return known.id;
}

/** At most 64 characters, as few as a backend's; one that is cut still is its own, and opens nobody else's machine. */
function rulesetName(name: string): string {
  const whole = `tandem-${name}`;
  if (whole.length <= longestName) return whole;
  const mark = createHash('sha256').update(name).digest('hex').slice(0, 12);
  return `${whole.slice(0, longestName - mark.length - 1)}-${mark}`;
}
