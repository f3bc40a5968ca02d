import { expect, it } from 'vitest';
import { neededRequests } from '../../src/router/goals.ts';
import { temporaryFolder } from '../support/folder.ts';
import { startGateway } from '../support/gateway.ts';
import { sendJson, startUpstream, wholeAnswer } from '../support/upstream.ts';

const easy = 'What is the capital of France?';
const hard =
  'Prove step by step that every prime above 3 is of the form 6k±1, then derive the density of such primes and compare it with the prime number theorem.';

/** A cheap small and a dear large model; what was asked before is in the ledger. */
async function startAfter(count: number, routing: Record<string, unknown> = {}) {
  const upstream = await startUpstream(({ response }) => sendJson(response, 200, wholeAnswer));
  const server = { baseUrl: upstream.url };
  const backends = [
    { ...server, id: 'cheap', models: ['small-8b'], price: [0.05, 0.1] as [number, number] },
    { ...server, id: 'dear', models: ['large-400b'], tier: 'large' as const, price: [5, 15] as [number, number] },
  ];
  const home = temporaryFolder();
  const before = await startGateway({ backends, home });
  for (let index = 0; index < count; index += 1)
    await before.chat({
      model: 'auto',
      messages: [{ role: 'user', content: index % 5 === 0 ? hard : `${easy} (${index})` }],
    });
  await before.settled(count);
  await before.close();
  return startGateway({ backends, home, rest: { routing } });
}

const answeredBy = async (response: Promise<Response>) => (await response).headers.get('x-tandem-model');
const ask = (content: string) => [{ role: 'user', content }];

it('reaches a quality that is asked for by the name of the model, and asks the strongest for all of it', async () => {
  const gateway = await startAfter(neededRequests + 5);
  expect(await answeredBy(gateway.chat({ model: 'auto:quality=0.5', messages: ask(hard) }))).toBe('small-8b');
  expect(await answeredBy(gateway.chat({ model: 'auto:quality=1', messages: ask(hard) }))).toBe('large-400b');
});

it('takes the quality of the configuration where nobody asks for a priority', async () => {
  const gateway = await startAfter(neededRequests + 5, { quality: 1 });
  expect(await answeredBy(gateway.chat({ model: 'auto', messages: ask(hard) }))).toBe('large-400b');
  expect(await answeredBy(gateway.chat({ model: 'auto:low_cost', messages: ask(hard) }))).toBe('small-8b');
});

it('goes by priority while there are too few requests to tell', async () => {
  const gateway = await startAfter(3);
  expect(await answeredBy(gateway.chat({ model: 'auto:quality=1', messages: ask(easy) }))).toBe('small-8b');
});

it('says what a wish for quality can be', async () => {
  const gateway = await startGateway();
  for (const model of ['auto:quality=2', 'auto:quality=0.2', 'auto:quality=', 'auto:quality=high']) {
    const response = await gateway.chat({ model, messages: ask('x') });
    expect(response.status).toBe(400);
    expect(JSON.stringify(await response.json())).toContain('auto:quality=0.95 (from 0.5 to 1)');
  }
});
