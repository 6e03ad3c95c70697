//! What a peer's entry must be: one that a builder could have built.

use super::{Entry, INLINE_BYTES, Kind};
use crate::error::Violation;
use crate::ring::record::{FLAG_FILL, FLAG_MORE, FLAG_SLOT, FLAG_STREAM, Record, word};

impl Entry {
    /// Checks an entry that a peer wrote.
    ///
    /// # Errors
    /// [`Violation::Entry`], with the name of the check, unless one of the builders could have built it.
    #[inline]
    pub(crate) fn admit(record: Record) -> Result<Self, Violation> {
        let mut entry = Self { record, kind: Kind::Nop };
        entry.admit_in_place()?;
        Ok(entry)
    }

    /// Where a peer's entry is to be copied to; [`admit_in_place`](Self::admit_in_place) follows.
    #[inline]
    pub(crate) fn record_mut(&mut self) -> &mut Record {
        &mut self.record
    }

    /// [`admit`](Self::admit) for a record that lies here already. After an error it means nothing.
    #[inline(always)]
    pub(crate) fn admit_in_place(&mut self) -> Result<(), Violation> {
        self.check().map_err(Violation::Entry)
    }

    /// [`admit_in_place`](Self::admit_in_place), with the name of the check as the error: two words, where a
    /// violation would be handed on through memory.
    #[inline(always)]
    fn check(&mut self) -> Result<(), &'static str> {
        let head = &self.record.head;
        let kind = Kind::try_from(head[word::KIND] as u8)?;
        let ensure = |good: bool, check: &'static str| good.then_some(()).ok_or(check);
        ensure(head[word::RESERVED] == 0, "reserved word not zero")?;
        // Most messages are short, and nothing is to be said of them.
        let is_plain = head[word::KIND] >> 8 == 0;
        if is_plain {
            ensure(head[word::LENGTH] <= INLINE_BYTES as u32, "inline length out of range")?;
            ensure(head[word::HANDLE] == 0, "handle without a slot")?;
        }
        if !(is_plain && matches!(kind, Kind::Request | Kind::Reply)) {
            self.check_further(kind)?;
        }
        self.kind = kind;
        Ok(())
    }

    /// [`check`](Self::check) for what has flags or metadata, or is of one of the rarer kinds.
    #[inline(never)]
    fn check_further(&self, kind: Kind) -> Result<(), &'static str> {
        let head = &self.record.head;
        let [_, flags, meta_low, meta_high] = head[word::KIND].to_le_bytes();
        let ensure = |good: bool, check: &'static str| good.then_some(()).ok_or(check);
        let admitted = match kind {
            Kind::Request => FLAG_SLOT | FLAG_FILL | FLAG_STREAM | FLAG_MORE,
            Kind::Reply => FLAG_SLOT | FLAG_FILL,
            _ => FLAG_SLOT,
        };
        ensure(flags & !admitted == 0, "unknown flags")?;
        let meta_len = u32::from(u16::from_le_bytes([meta_low, meta_high]));
        if flags & FLAG_SLOT != 0 {
            ensure(head[word::LENGTH] == 0, "both inline and in a slot")?;
        } else {
            ensure(head[word::LENGTH] <= INLINE_BYTES as u32, "inline length out of range")?;
            ensure(head[word::HANDLE] == 0, "handle without a slot")?;
            ensure(meta_len <= head[word::LENGTH], "metadata longer than what it is part of")?;
        }
        if flags & FLAG_FILL != 0 {
            ensure(flags & FLAG_SLOT != 0, "a fill without a slot")?;
            ensure(flags & FLAG_STREAM == 0 && meta_len == 0, "a fill of a stream, or with metadata")?;
        }
        if flags & FLAG_MORE != 0 {
            ensure(flags & FLAG_STREAM != 0, "messages follow a call without streams")?;
            // In a slot that is known where the slot is.
            let is_empty = flags & FLAG_SLOT != 0 || head[word::LENGTH] == meta_len;
            ensure(is_empty, "a message, and others follow")?;
        }
        match kind {
            Kind::Request | Kind::Reply => {}
            Kind::Message | Kind::Headers => {
                ensure(head[word::CODE] == 0 && head[word::DEADLINE] == 0, "unused field not zero")?;
                ensure(kind == Kind::Headers || meta_len == 0, "metadata with a kind that has none")?;
                let is_all = flags & FLAG_SLOT != 0 || head[word::LENGTH] == meta_len;
                ensure(kind == Kind::Message || is_all, "message with a kind that has none")?;
            }
            Kind::Cancel | Kind::Goaway | Kind::Nop | Kind::End | Kind::Credit => {
                ensure(flags == 0 && head[word::LENGTH] == 0, "message with a kind that has none")?;
                ensure(kind != Kind::Credit || head[word::CODE] != 0, "a credit of zero")?;
                ensure(kind == Kind::Credit || head[word::CODE] == 0, "unused field not zero")?;
                ensure(head[word::DEADLINE] == 0, "unused field not zero")?;
                let has_call = !matches!(kind, Kind::Goaway | Kind::Nop);
                ensure(has_call || head[word::CALL_ID] == 0, "unused field not zero")?;
            }
        }
        Ok(())
    }
}
