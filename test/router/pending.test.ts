import { describe, expect, it } from 'vitest';
import { standIn } from '../../src/router/pending.ts';
import type { Backend, ModelRequest, Pending } from '../../src/router/types.ts';

const soon: Pending = { backend: 'analysts-1', model: 'gpt-oss-120b', state: 'booting', readyInMs: 6 * 60_000 };

function backend(id: string, kind: Backend['kind'], model: string): Backend {
  return { id, kind, models: () => [{ id: model }] } as unknown as Backend;
}

function request(about: Partial<ModelRequest>): ModelRequest {
  return { backend: 'auto', operation: 'chat', ...about } as ModelRequest;
}

const provider = backend('provider', 'serverless', 'small-8b');
const box = backend('box', 'dedicated', 'large-70b');

describe('a request for what is not ready yet', () => {
  it.each([
    ['its name', { backend: 'analysts-1' }],
    ['its name and model', { model: 'analysts-1/gpt-oss-120b' }],
    ['its model', { model: 'gpt-oss-120b' }],
    ['any dedicated backend', { backend: 'dedicated' }],
  ])('goes to serverless models when it asks for %s', (_what, about) => {
    expect(standIn(request(about), [provider], [soon], 'any')).toMatchObject({
      backend: 'serverless',
      model: undefined,
    });
  });

  it('stays as it is when another dedicated backend can answer', () => {
    const asked = request({ backend: 'dedicated' });
    expect(standIn(asked, [provider, box], [soon], 'any')).toBe(asked);
  });

  it('stays as it is when somebody offers the model', () => {
    const asked = request({ model: 'gpt-oss-120b' });
    expect(standIn(asked, [backend('other', 'serverless', 'gpt-oss-120b')], [soon], 'any')).toBe(asked);
  });

  it('stays as it is when it asks for nothing of the kind', () => {
    const asked = request({ model: 'small-8b' });
    expect(standIn(asked, [provider], [soon], 'any')).toBe(asked);
  });

  it('is put off where prompts may not leave the dedicated backends', () => {
    expect(() => standIn(request({ backend: 'analysts-1' }), [provider], [soon], 'dedicated_only')).toThrow(
      expect.objectContaining({
        code: 'overloaded',
        retryAfterMs: 360_000,
        message: '"analysts-1" (gpt-oss-120b) is booting, ready in about 6 min, and nothing else may answer.',
      }),
    );
  });

  it('is put off too when it asks for nobody, and only dedicated backends may have it', () => {
    expect(() => standIn(request({}), [provider], [soon], 'dedicated_only')).toThrow(
      expect.objectContaining({ code: 'overloaded', retryAfterMs: 360_000 }),
    );
    const asked = request({});
    expect(standIn(asked, [provider, box], [soon], 'dedicated_only')).toBe(asked);
    expect(standIn(asked, [provider], [soon], 'any')).toBe(asked);
  });

  it('is put off where there is nobody to stand in', () => {
    expect(() => standIn(request({ model: 'gpt-oss-120b' }), [box], [soon], 'any')).toThrow(/nothing else may answer/);
  });

  it('is put off when it wants embeddings', () => {
    const asked = request({ model: 'gpt-oss-120b', operation: 'embeddings' });
    expect(() => standIn(asked, [provider], [soon], 'any')).toThrow(/embeddings of other models/);
  });
});
