import { describe, expect, it } from 'vitest';
import { openToNetwork, requireNetwork } from '../../../src/lambda/serving/firewall.ts';
import { openCloud } from '../cloud.ts';

const { signal } = new AbortController();
const home = { name: 'analysts', region: 'us-east-3', network: '203.0.113.7/32' };

describe('the network of a direct endpoint', () => {
  it.each(['203.0.113.7/32', '10.0.0.0/8'])('may be %s', (network) => {
    expect(requireNetwork(network)).toBe(network);
  });

  it.each([
    null,
    '0.0.0.0/0',
    '10.0.0.0/7',
    '203.0.113.7',
    '203.0.113.7/33',
    'anywhere',
    '203.0.113.7/32/8',
    '::1/128',
  ])('is never %s', (network) => {
    expect(() => requireNetwork(network)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
  });

  it('gets a ruleset of one rule, once', async () => {
    const { client } = await openCloud();
    const id = await openToNetwork(client, home, signal);
    expect(await openToNetwork(client, home, signal)).toBe(id);
    expect(await client.listFirewallRulesets(signal)).toMatchObject([
      {
        id,
        name: 'tandem-analysts',
        rules: [{ protocol: 'tcp', portRange: [8000, 8000], sourceNetwork: '203.0.113.7/32' }],
      },
    ]);
  });

  it('takes the place of the one that was allowed before', async () => {
    const { client } = await openCloud();
    const id = await openToNetwork(client, home, signal);
    expect(await openToNetwork(client, { ...home, network: '198.51.100.0/24' }, signal)).toBe(id);
    const [ruleset] = await client.listFirewallRulesets(signal);
    expect(ruleset?.rules).toMatchObject([{ sourceNetwork: '198.51.100.0/24' }]);
  });

  it('opens no other machine whose long name begins alike', async () => {
    const { client } = await openCloud();
    const long = 'a'.repeat(61);
    const ids = [`${long}-1`, `${long}-2`].map((name) => openToNetwork(client, { ...home, name }, signal));
    const [one, two] = await Promise.all(ids);
    expect(one).not.toBe(two);
    expect((await client.listFirewallRulesets(signal)).every(({ name }) => name.length <= 64)).toBe(true);
  });

  it('is made right where somebody has opened more', async () => {
    const { client } = await openCloud();
    const id = await openToNetwork(client, home, signal);
    const all = { protocol: 'all', portRange: [1, 65_535] as [number, number], sourceNetwork: home.network };
    await client.updateFirewallRuleset(id, [{ ...all, description: '' }], signal);
    await openToNetwork(client, home, signal);
    const [ruleset] = await client.listFirewallRulesets(signal);
    expect(ruleset?.rules).toMatchObject([{ protocol: 'tcp', portRange: [8000, 8000] }]);
  });

  it('is refused where no rule applies', async () => {
    const { client } = await openCloud();
    await expect(openToNetwork(client, { ...home, region: 'us-south-1' }, signal)).rejects.toMatchObject({
      code: 'invalid_input',
      message: expect.stringContaining('every port of a machine is open'),
    });
  });
});
