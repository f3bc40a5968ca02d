import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonText } from '../../src/router/json-text.ts';

/** A JSON value in some legal spelling: other spaces, escapes and numbers than JSON.stringify would choose. */
const spaces = fc.constantFrom('', ' ', '\n', '\t ', '\r\n');
const scalar = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }).map((text) => JSON.stringify(text)),
  fc.constantFrom('9007199254740993', '-0.0', '1e400', '1.50', 'true', 'false', 'null', '"\\u0061\\\\\\""', '"}],{"'),
);
const key = fc.oneof(
  fc.string({ maxLength: 6 }).map((text) => JSON.stringify(text)),
  fc.constantFrom('"model"', '"mo\\u0064el"', '"__proto__"', '"stream"', '""', '"\\\\"', '"a\\"b"'),
);
const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'json' },
    scalar,
    fc
      .tuple(spaces, fc.array(fc.tuple(tie('value'), spaces), { maxLength: 3 }))
      .map(([before, items]) => `[${before}${items.map(([item, after]) => item + after).join(`,${before}`)}]`),
    fc
      .array(fc.tuple(spaces, key, spaces, tie('value')), { maxLength: 3 })
      .map(
        (members) =>
          `{${members.map(([space, name, gap, item]) => `${space}${name}${gap}:${space}${item}${gap}`).join(',')}}`,
      ),
  ),
}));
const member = fc.tuple(spaces, key, spaces, value, spaces);
const object = fc.tuple(spaces, fc.array(member, { maxLength: 6 }), spaces).map(([before, members, after]) => {
  const text = members.map(([a, name, b, item, c]) => `${a}${name}${b}:${c}${item}${a}`).join(',');
  return { text: `${before}{${before}${text}}${after}`, members };
});

describe('JSON that is passed on', () => {
  it('is the same, to the byte, where nothing is replaced', () => {
    fc.assert(
      fc.property(object, ({ text }) => {
        expect(new JsonText(text).with({})).toBe(text);
      }),
    );
  });

  it('means the same, apart from what was replaced', () => {
    fc.assert(
      fc.property(object, value, ({ text }, item) => {
        const changed = new JsonText(text).with({ model: item, stream_options: '{"a":1}' });
        const expected = { ...Object(JSON.parse(text)), model: JSON.parse(item), stream_options: { a: 1 } };
        expect({ ...JSON.parse(changed) }).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  it('keeps every other field as it was spelt', () => {
    fc.assert(
      fc.property(object, ({ text, members }) => {
        const changed = new JsonText(text).with({ model: '"m"' });
        for (const [, name, , item] of members) if (JSON.parse(name) !== 'model') expect(changed).toContain(item);
        const json = new JsonText(text);
        for (const [, name] of members) {
          const last = members.findLast(([, other]) => JSON.parse(other) === JSON.parse(name));
          expect(json.rawOf(JSON.parse(name))).toBe(last?.[3]);
        }
      }),
    );
  });

  it('replaces a field in every place where it stands, however it is spelt', () => {
    const text = '{"model": 1, "a": {"model": 2}, "mo\\u0064el" :3}';
    expect(new JsonText(text).with({ model: '"m"' })).toBe('{"model": "m", "a": {"model": 2}, "mo\\u0064el" :"m"}');
  });

  it.each([
    ['{}', '{"model":"m"}'],
    [' { } ', ' {"model":"m" } '],
    ['{"a":1}', '{"model":"m","a":1}'],
  ])('adds a field that is missing to %s', (text, expected) => {
    expect(new JsonText(text).with({ model: '"m"' })).toBe(expected);
  });

  it.each(['', 'null', '[]', '"x"', '1', '{"a":1}}', '{a:1}', "{'a':1}", '{"a":1,}', '\ufeff{}'])(
    'is not %j',
    (text) => {
      expect(() => new JsonText(text)).toThrow(SyntaxError);
    },
  );

  it('takes 10 MB, or a deep nest, in a moment', () => {
    const long = `{"a":"${'\\"'.repeat(2_500_000)}","b":[${'{"model":"x"},'.repeat(350_000)}0],"model":"x"}`;
    const startedAt = performance.now();
    const changed = new JsonText(long).with({ model: '"y"' });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(changed.endsWith('"model":"y"}')).toBe(true);
    const deep = `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)},"model":"x"}`;
    expect(new JsonText(deep).with({ model: '"y"' })).toBe(deep.replace('"x"', '"y"'));
  });
});
