import { describe, expect, it } from 'vitest';
import { type Ask, Confirmations, type Proposal } from '../../src/tools/confirmation.ts';
import { ManualClock } from '../support/clock.ts';

const minuteMs = 60_000;

/** A confirmation book, and calls of one tool against it. `plans` counts how often a plan was made. */
function openBook() {
  const clock = new ManualClock();
  const book = new Confirmations(clock);
  const state = { plans: 0, asked: [] as string[] };
  const propose = (
    changes: Partial<Proposal<number>> = {},
    answer: Awaited<ReturnType<Ask>> = null,
    principalId = 'local',
  ) =>
    book.confirmWith(async (question) => {
      state.asked.push(question);
      return answer;
    }, principalId)<number>({
      tool: 'launch',
      subject: { type: 'a10', name: 'box' },
      token: undefined,
      plan: async () => {
        state.plans += 1;
        return state.plans;
      },
      question: (plan) => `Carry out plan ${plan}?`,
      ...changes,
    });
  const tokenOf = async (changes: Partial<Proposal<number>> = {}): Promise<string> => {
    const answer = await propose(changes);
    if (answer.status !== 'confirm_required') throw new Error(answer.status);
    return answer.token;
  };
  return { clock, state, propose, tokenOf };
}

describe('Confirmations', () => {
  it('gives a plan and a token when nobody can be asked', async () => {
    const { propose } = openBook();
    expect(await propose()).toEqual({
      status: 'confirm_required',
      plan: 1,
      token: expect.stringMatching(/^[\w-]{22}$/),
    });
  });

  it('confirms the very plan that was shown, without making a new one', async () => {
    const { propose, tokenOf, state } = openBook();
    const token = await tokenOf();
    expect(await propose({ token })).toEqual({ status: 'confirmed', plan: 1 });
    expect(state).toMatchObject({ plans: 1, asked: ['Carry out plan 1?'] });
  });

  it('confirms at once what the person accepts, without a token', async () => {
    const { propose } = openBook();
    expect(await propose({}, 'accept')).toEqual({ status: 'confirmed', plan: 1 });
  });

  it('says what was declined', async () => {
    const { propose } = openBook();
    expect(await propose({}, 'decline')).toEqual({ status: 'declined', plan: 1 });
  });

  it('does not ask a person who has given the token', async () => {
    const { propose, tokenOf, state } = openBook();
    const token = await tokenOf();
    await propose({ token }, 'decline');
    expect(state.asked).toHaveLength(1);
  });

  it('gives a new token for every plan, each of them good', async () => {
    const { propose, tokenOf } = openBook();
    const [one, other] = [await tokenOf(), await tokenOf()];
    expect(one).not.toBe(other);
    expect(await propose({ token: one })).toMatchObject({ plan: 1 });
    expect(await propose({ token: other })).toMatchObject({ plan: 2 });
  });

  it('refuses a token that it never gave', async () => {
    const { propose, state } = openBook();
    await expect(propose({ token: 'made-up' })).rejects.toMatchObject({
      code: 'confirmation_invalid',
      message: 'This confirm_token is not known here. Nothing was done.',
      next: expect.stringContaining('Call launch without confirm_token'),
    });
    expect(state.plans).toBe(0);
  });

  it('takes an empty token for a wrong one, not for none', async () => {
    const { propose } = openBook();
    await expect(propose({ token: '' })).rejects.toMatchObject({ code: 'confirmation_invalid' });
  });

  it('refuses a token that was used', async () => {
    const { propose, tokenOf } = openBook();
    const token = await tokenOf();
    await propose({ token });
    await expect(propose({ token })).rejects.toThrow('This confirm_token was used already. Nothing was done.');
  });

  it('confirms only one of two calls that come with the same token at once', async () => {
    const { propose, tokenOf } = openBook();
    const token = await tokenOf();
    const results = await Promise.allSettled([propose({ token }), propose({ token })]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  });

  it('refuses a token of another tool, which stays good where it belongs', async () => {
    const { propose, tokenOf } = openBook();
    const token = await tokenOf();
    await expect(propose({ token, tool: 'terminate' })).rejects.toThrow('not known here');
    expect(await propose({ token })).toMatchObject({ status: 'confirmed' });
  });

  it('refuses a token of another principal as one it never gave, and it stays good for its own', async () => {
    const { propose, tokenOf } = openBook();
    const token = await tokenOf();
    await expect(propose({ token }, null, 'tok_other')).rejects.toThrow('This confirm_token is not known here.');
    expect(await propose({ token })).toMatchObject({ status: 'confirmed' });
  });

  it('refuses a token that was given for other arguments, which stays good for its own', async () => {
    const { propose, tokenOf } = openBook();
    const token = await tokenOf();
    await expect(propose({ token, subject: { type: 'h100', name: 'box' } })).rejects.toThrow(
      'This confirm_token was given for other arguments. Nothing was done.',
    );
    expect(await propose({ token })).toMatchObject({ status: 'confirmed' });
  });

  it.each([
    { how: 'in another order', subject: { name: 'box', type: 'a10' } },
    { how: 'with an argument that is undefined', subject: { type: 'a10', name: 'box', region: undefined } },
  ])('takes the same arguments $how for the same', async ({ subject }) => {
    const { propose, tokenOf } = openBook();
    expect(await propose({ token: await tokenOf(), subject })).toMatchObject({ status: 'confirmed' });
  });

  it.each([
    { how: 'one more', subject: { type: 'a10', name: 'box', region: 'us-east-1' } },
    { how: 'one less', subject: { type: 'a10' } },
    { how: 'a number for a text', subject: { type: 'a10', name: 1 } },
    { how: 'null for nothing', subject: { type: 'a10', name: null } },
  ])('tells arguments apart: $how', async ({ subject }) => {
    const { propose, tokenOf } = openBook();
    const token = await tokenOf();
    await expect(propose({ token, subject })).rejects.toThrow('other arguments');
  });

  it('tells lists apart by their order, and finds order in nested arguments', async () => {
    const { propose, tokenOf } = openBook();
    const token = await tokenOf({ subject: { ids: ['a', 'b'], deep: { x: 1, y: [{ p: 1, q: 2 }] } } });
    await expect(propose({ token, subject: { ids: ['b', 'a'], deep: { x: 1, y: [{ p: 1, q: 2 }] } } })).rejects.toThrow(
      'other arguments',
    );
    expect(await propose({ token, subject: { deep: { y: [{ q: 2, p: 1 }], x: 1 }, ids: ['a', 'b'] } })).toMatchObject({
      status: 'confirmed',
    });
  });

  it('holds a token good for ten minutes', async () => {
    const { clock, propose, tokenOf } = openBook();
    const token = await tokenOf();
    clock.advance(10 * minuteMs);
    expect(await propose({ token })).toMatchObject({ status: 'confirmed' });
  });

  it('refuses a token after ten minutes, and says why', async () => {
    const { clock, propose, tokenOf } = openBook();
    const token = await tokenOf();
    clock.advance(10 * minuteMs + 1);
    await expect(propose({ token })).rejects.toThrow('This confirm_token has expired. Nothing was done.');
  });

  it('forgets old tokens in the end', async () => {
    const { clock, propose, tokenOf } = openBook();
    const token = await tokenOf();
    clock.advance(20 * minuteMs + 1);
    await tokenOf();
    await expect(propose({ token })).rejects.toThrow('not known here');
  });

  it('passes on why no plan could be made, and asks nothing', async () => {
    const { propose, state } = openBook();
    await expect(propose({ plan: () => Promise.reject(new Error('no capacity')) }, 'accept')).rejects.toThrow(
      'no capacity',
    );
    expect(state.asked).toEqual([]);
  });
});
