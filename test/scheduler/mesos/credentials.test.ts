import { expect } from 'chai'
import { parseCredentials } from '../../../scheduler/mesos/credentials.ts'

describe('credentials from a file', () => {
  for (const text of ['s3cret\n', 'atoll s3cret', '{"principal":"atoll","secret":"s3cret"}']) {
    it(`'${text.trim()}' is the secret of the principal`, () => {
      expect(parseCredentials(text, 'atoll')).to.deep.equal({ principal: 'atoll', secret: 's3cret' })
    })
  }

  it('a number is a secret, not JSON of another kind', () => {
    expect(parseCredentials('12345', 'atoll').secret).to.equal('12345')
  })

  for (const text of ['', '  \n', 'a b c', '{"principal":"atoll"}', '{"secret":"x"}', '{"principal":"atoll","secret":""}', 'other s3cret']) {
    it(`refuses '${text.trim()}', without telling a secret`, () => {
      expect(() => parseCredentials(text, 'atoll')).to.throw().with.property('code', 'ATOLL_INVALID')
      expect(() => parseCredentials(text, 'atoll')).to.throw().with.property('message').that.does.not.contain('s3cret')
    })
  }
})
