import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { capabilities, privacies } from '../../src/config/schema.ts';
import type { AppError } from '../../src/errors.ts';
import { requireCandidates } from '../../src/router/constraints.ts';
import { route, type Sized } from '../../src/router/route.ts';
import type { Snapshot } from '../../src/router/types.ts';
import { backendOf, modelOf, sizedAs, snapshotOf, verdictsOf } from '../support/decisions.ts';

function refusal(sized: Sized, snapshot: Snapshot): AppError {
  try {
    requireCandidates(route(sized, snapshot), snapshot, sized.request);
  } catch (error) {
    return error as AppError;
  }
  throw new Error('somebody can take it');
}

const eyes = backendOf('eyes', [modelOf('sees', { supports: ['images', 'tools'] })]);
const blind = backendOf('blind', [modelOf('reads', { supports: [] })]);
const mystery = backendOf('mystery', [modelOf('m')]);
const box = backendOf('box', [modelOf('own')], { kind: 'dedicated' });

describe('what a model can do', () => {
  it('excludes those that are known not to take what a request needs, and nobody else', () => {
    const world = snapshotOf([eyes, blind, mystery]);
    expect(verdictsOf(sizedAs({ needs: ['images'] }), world)).toEqual([
      'eyes/sees chosen',
      'mystery/m fallback',
      'blind/reads capability',
    ]);
    expect(verdictsOf(sizedAs({ needs: ['images', 'json_schema'] }), world)).toEqual([
      'mystery/m chosen',
      'eyes/sees capability',
      'blind/reads capability',
    ]);
    expect(verdictsOf(sizedAs(), world)).not.toContainEqual(expect.stringContaining('capability'));
  });

  it('excludes a model that was named too, with the models that could', () => {
    const world = snapshotOf([eyes, blind, mystery]);
    const error = refusal(sizedAs({ needs: ['images', 'tools'], model: 'blind/reads' }), world);
    expect(error).toMatchObject({ code: 'no_candidate', isRetryable: false });
    expect(error.text).toBe(
      'No model can take this request. blind/reads: does not take images and tools. Models that take images and tools: eyes/sees.',
    );
  });

  it('asks for `supports` where no model is known to be able', () => {
    const error = refusal(sizedAs({ needs: ['json_schema'] }), snapshotOf([eyes, blind]));
    expect(error.next).toBe(
      'No model is known to take JSON schemas; `supports` in tandem.yaml says what a model takes.',
    );
  });

  it('lets the spare of a named model stand in', () => {
    const world = snapshotOf([blind, eyes], { fallbacks: { 'blind/*': ['eyes/sees'] } });
    expect(verdictsOf(sizedAs({ needs: ['images'], model: 'reads' }), world)).toEqual([
      'eyes/sees chosen',
      'blind/reads capability',
    ]);
  });
});

describe('privacy', () => {
  const closed = { privacy: 'dedicated_only' } as const;

  it('excludes serverless candidates, named or not, and spares', () => {
    const world = snapshotOf([mystery, box], { ...closed, fallbacks: { '*': ['mystery/m', 'eyes/sees'] } });
    expect(verdictsOf(sizedAs(), world)).toEqual(['box/own chosen', 'mystery/m privacy']);
    expect(verdictsOf(sizedAs({ model: 'box/own' }), world)).toEqual(['box/own chosen', 'mystery/m privacy']);
    expect(verdictsOf(sizedAs({ model: 'm' }), world)).toEqual(['mystery/m privacy']);
  });

  it('says which models a prompt may go to', () => {
    const error = refusal(sizedAs({ model: 'm' }), snapshotOf([mystery, box], closed));
    expect(error).toMatchObject({ code: 'no_candidate', next: 'Valid: box/own.' });
    expect(error.message).toContain('mystery/m: prompts go to dedicated backends only');
    expect(refusal(sizedAs(), snapshotOf([mystery], closed)).next).toContain('under dedicated in tandem.yaml');
  });

  it('does not stand before what can be mended at the backends that may have the prompt', () => {
    const small = backendOf('box', [modelOf('s', { contextWindowTokens: 256 })], { kind: 'dedicated' });
    expect(refusal(sizedAs({}, 1_000), snapshotOf([mystery, small], closed)).code).toBe('context_too_long');
    const deaf = backendOf('box', [modelOf('s', { supports: [] })], { kind: 'dedicated' });
    const error = refusal(sizedAs({ needs: ['images'] }), snapshotOf([eyes, deaf], closed));
    expect(error.next).toMatch(/^No model is known to take images/);
  });

  it('stands before every other reason, so that no exception for another one opens it', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...privacies),
        fc.integer({ min: -1, max: 1_000_000 }),
        fc.subarray([...capabilities]),
        fc.constantFrom('auto', 'serverless', 'dedicated'),
        fc.constantFrom(undefined, 'm', 'own', 'mystery/m'),
        fc.integer({ min: 0, max: 2 }),
        (privacy, budgetLeftNanoUsd, needs, backend, model, callsUnderWay) => {
          const price = { inputNanoUsdPerMTok: 1e9, cachedInputNanoUsdPerMTok: 1e9, outputNanoUsdPerMTok: 1e9 };
          const priced = modelOf('m', { price: { ...price, source: 'config', asOf: null } });
          const busy = { callsUnderWay, maxConcurrentRequests: 1 };
          const world = snapshotOf([backendOf('mystery', [priced], busy), { ...box, ...busy }], {
            privacy,
            budgetLeftNanoUsd,
            fallbacks: { '*': ['mystery/m', 'box/own'] },
          });
          const sized = sizedAs({ needs, backend, model });
          let tried: readonly { kind: string }[] = [];
          try {
            tried = requireCandidates(route(sized, world), world, sized.request);
          } catch {}
          if (privacy === 'dedicated_only' || backend === 'dedicated')
            expect(tried.filter(({ kind }) => kind === 'serverless')).toEqual([]);
        },
      ),
    );
  });

  it('of one request holds for its spares too', () => {
    const world = snapshotOf([mystery, box], { fallbacks: { '*': ['mystery/m'] } });
    expect(verdictsOf(sizedAs({ backend: 'dedicated', model: 'own' }), world)).toEqual([
      'box/own chosen',
      'mystery/m backend',
    ]);
  });
});

describe('load', () => {
  const full = { callsUnderWay: 2, maxConcurrentRequests: 2 };

  it('excludes a backend with all its places taken while others can answer', () => {
    expect(verdictsOf(sizedAs(), snapshotOf([{ ...mystery, ...full }, box]))).toEqual([
      'box/own chosen',
      'mystery/m load',
    ]);
    expect(verdictsOf(sizedAs(), snapshotOf([{ ...box, ...full, callsUnderWay: 1 }]))).toEqual(['box/own chosen']);
  });

  it('is an error that time mends when nobody else can answer', () => {
    const world = snapshotOf([{ ...box, ...full }, blind, mystery], { privacy: 'dedicated_only' });
    expect(refusal(sizedAs({ needs: ['images'] }), world)).toMatchObject({ code: 'overloaded', retryAfterMs: 1_000 });
  });

  it('lets a spare stand in for a named model', () => {
    const world = snapshotOf([{ ...box, ...full }, mystery], { fallbacks: { 'box/*': ['mystery/m'] } });
    expect(verdictsOf(sizedAs({ model: 'own' }), world)).toEqual(['mystery/m chosen', 'box/own load']);
  });

  it('is not said of a candidate that could not answer anyway', () => {
    const small = backendOf('small', [modelOf('s', { contextWindowTokens: 256 })], full);
    expect(refusal(sizedAs({}, 1_000), snapshotOf([small])).code).toBe('context_too_long');
  });
});
