import { readFileSync } from 'node:fs';
import { countTokens } from 'gpt-tokenizer/encoding/o200k_base';
import { describe, expect, it } from 'vitest';
import { estimateTokens } from '../../src/router/token-estimate.ts';

const file = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8').slice(0, 20_000);
const times = (text: string) => text.repeat(10);

const texts: Record<string, string> = {
  'English prose': file('docs/architecture.md'),
  code: file('src/usage/report.ts'),
  'indented JSON': file('test/fixtures/tools.json'),
  'packed JSON': JSON.stringify(JSON.parse(readFileSync(new URL('../fixtures/tools.json', import.meta.url), 'utf8'))),
  German: times(
    'Übergangsregelungen gelten für bestehende Anlagen, deren Betreiber größere Investitionen getätigt haben. ',
  ),
  Russian: times('Правительство в среду приняло решение расширить поддержку возобновляемых источников энергии. '),
  Chinese: times('政府周三决定扩大对可再生能源的支持，并加快电网建设。过渡性规定适用于现有设施。'),
  Japanese: times('政府は水曜日、再生可能エネルギーへの支援を拡大し、送電網の整備を加速することを決定した。'),
  Korean: times('정부는 수요일에 재생 에너지 지원을 확대하고 전력망 구축을 가속화하기로 결정했다. '),
  Arabic: times('قررت الحكومة يوم الأربعاء توسيع دعم الطاقة المتجددة وتسريع بناء الشبكات. '),
  Hindi: times('सरकार ने बुधवार को नवीकरणीय ऊर्जा के समर्थन का विस्तार करने का निर्णय लिया। '),
  base64: Buffer.from(file('package-lock.json')).toString('base64').slice(0, 8_000),
  hexadecimal: Buffer.from(file('package-lock.json')).toString('hex').slice(0, 8_000),
  mathematics: times('x^2 + 3x - 7 = 0 => x = (-3 ± √(9+28))/2; ∫_0^1 f(x) dx ≤ 12.5 '),
};

describe('estimated tokens', () => {
  it.each(Object.keys(texts))('come within 25 %% of a real tokenizer: %s', (name) => {
    const text = texts[name] ?? '';
    const ratio = estimateTokens(text) / countTokens(text);
    expect(ratio).toBeGreaterThan(0.75);
    expect(ratio).toBeLessThan(1.25);
  });

  it('are none for nothing, and one for a letter', () => {
    expect([estimateTokens(''), estimateTokens('a')]).toEqual([0, 1]);
  });

  it('are never less for more of the same', () => {
    expect(estimateTokens('a'.repeat(100_000))).toBeGreaterThan(estimateTokens('a'.repeat(50_000)));
  });
});
