import { onTestFinished } from 'vitest';
import { Redactor } from '../../src/redactor.ts';
import { openDatabase } from '../../src/usage/database.ts';
import { NoticeBook, type NoticeRow } from '../../src/usage/notice-book.ts';
import { type Books, openBooks } from '../usage/books.ts';

export interface NoticeBooks extends Books {
  notices: NoticeBook;
  redactor: Redactor;
  /** The same book as another process has it: over a connection of its own. */
  openAgain(): Promise<NoticeBook>;
  rows(): Promise<NoticeRow[]>;
}

export async function openNoticeBooks(limits: { dailyUsd?: number; monthlyUsd?: number } = {}): Promise<NoticeBooks> {
  const books = await openBooks(limits);
  const { database, clock } = books;
  const redactor = new Redactor();
  const notices = new NoticeBook({ database, clock, redactor });
  return {
    ...books,
    notices,
    redactor,
    async openAgain() {
      const second = await openDatabase(books.path);
      onTestFinished(() => second.close());
      return new NoticeBook({ database: second, clock, redactor });
    },
    rows: () => notices.last(1_000),
  };
}
