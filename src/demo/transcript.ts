import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

/** Prints a demo as one would see it in a chat: the person, the tool calls, the answers. Colour only on a terminal. */
export class Transcript {
  readonly #write: (text: string) => void;
  #steps = 0;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  title(text: string): void {
    this.#line(style('bold', text));
  }

  act(title: string): void {
    this.#line(`\n\n${style('bold', title)}`);
  }

  step(title: string): void {
    this.#steps += 1;
    this.#line(`\n${style(['bold', 'cyan'], `${String(this.#steps).padStart(2)}. ${title}`)}`);
  }

  person(text: string): void {
    this.#line(`    ${style('bold', 'You')}  ${text}`);
  }

  call(tool: string, input: Record<string, unknown>): void {
    const shown = Object.entries(input).map(([name, value]) => `${name}: ${short(value)}`);
    this.#line(style('dim', `     ->  ${tool}(${shown.join(', ')})`));
  }

  answer(text: string): void {
    for (const line of text.split('\n')) this.#line(`         ${line}`.trimEnd());
  }

  remark(text: string): void {
    this.#line(style('yellow', `     *   ${text}`));
  }

  end(text: string): void {
    this.#line(`\n${style(['bold', 'green'], text)}`);
  }

  failure(text: string): void {
    this.#line(`\n${style(['bold', 'red'], `FAILED: ${text}`)}`);
  }

  #line(text: string): void {
    this.#write(`${text}\n`);
  }
}

const longestValue = 60;

function short(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > longestValue ? `${text.slice(0, longestValue)}…` : text;
}

function style(format: Style, text: string): string {
  return process.stdout.isTTY ? styleText(format, text) : text;
}
