import { expect, test } from 'vitest'
import { parseHosts } from '../../src/store/hosts.ts'

test('a URL with one server stays as it is', () => {
  const url = 'postgres://me:p%40ss@db.example:6432/work?sslmode=require'
  expect(parseHosts(url)).toEqual([{ host: 'db.example', port: 6432, url }])
  expect(parseHosts('postgresql://localhost/x')).toEqual([{ host: 'localhost', port: 5432, url: 'postgresql://localhost/x' }])
})

test('several servers, in order, each with a URL that node-postgres can read', () => {
  const url = 'postgres://me:secret@a.example:5432,[::1]:5433,c/work?target_session_attrs=read-write&sslmode=require'
  expect(parseHosts(url)).toEqual([
    { host: 'a.example', port: 5432, url: 'postgres://me:secret@a.example:5432/work?sslmode=require' },
    { host: '::1', port: 5433, url: 'postgres://me:secret@[::1]:5433/work?sslmode=require' },
    { host: 'c', port: 5432, url: 'postgres://me:secret@c/work?sslmode=require' },
  ])
})

test('a URL that asks for a standby, or is none, is refused with what is allowed', () => {
  const refusal = (url: string) => {
    try {
      parseHosts(url)
    } catch (error) {
      return error
    }
    throw new Error(`${url} was taken`)
  }
  expect(refusal('postgres://a,b/x?target_session_attrs=standby')).toMatchObject({
    code: 'E_INVALID',
    details: { at: 'DATABASE_URL', allowed: ['read-write', 'primary', 'any'] },
  })
  expect(refusal('mysql://a/x')).toMatchObject({ code: 'E_INVALID' })
  expect(refusal('postgres://a:port/x')).toMatchObject({ code: 'E_INVALID' })
})
