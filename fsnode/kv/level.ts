export * from '../protocol/level-kv.ts'
