import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openLogFile } from '../src/log-file.ts';
import { temporaryFolder } from './support/folder.ts';

function open(maxBytes: number, path = join(temporaryFolder(), 'a', 'watch.log')) {
  const file = openLogFile(path, maxBytes);
  onTestFinished(() => file.close());
  return { file, path, read: (suffix = '') => readFileSync(path + suffix, 'utf8') };
}

it('is written at once, in a folder that it makes, and only its owner may read it', () => {
  const { file, path, read } = open(100);
  file.write('one\n');
  expect(read()).toBe('one\n');
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

it('goes on where another process left it', () => {
  const { file, path, read } = open(100);
  file.write('one\n');
  open(100, path).file.write('two\n');
  expect(read()).toBe('one\ntwo\n');
});

it('becomes .1 when it is full, and the .1 before it is gone', () => {
  const { file, path, read } = open(10);
  for (const line of ['11111111\n', '22222222\n', '3333\n', '4444\n']) file.write(line);
  expect(read('.1')).toBe('22222222\n');
  expect(read()).toBe('3333\n4444\n');
  expect(statSync(`${path}.1`).mode & 0o777).toBe(0o600);
});

it('is made private where it was not', () => {
  const path = join(temporaryFolder(), 'watch.log');
  writeFileSync(path, '', { mode: 0o644 });
  open(10, path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});
