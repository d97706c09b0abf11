//! A kernel that seals: when it is given the key, how it gets the next one, and when it has sent
//! everything.
//!
//! ```text
//!   last flight sent ──▶ TCP_ULP ──▶ TLS_TX ──▶ plain text goes out, one record for each send
//!                           │          │
//!                           └──────────┴── refused: sealing goes on here
//! ```
//!
//! Nothing is sent between the offer of a key and the kernel's answer, so no nonce is used on both
//! sides. A kernel reports a send as soon as the bytes are sealed, even if TCP had no room for the
//! record, and drops such records at a shutdown or close. Before those it is asked until the peer
//! has acknowledged everything.

use std::time::{Duration, Instant};

use sitar_io::{Engine, Errno, SendBuf, SockOpt, TlsCipher, TlsTx};
use sitar_tls::{Aead, SealingKey, Version, content_type};

use super::security::Security;
use super::state::{Acks, Asked, EndStep, KtlsState, KtlsStep, Transport, Waiting};
use crate::TlsOffload;
use crate::close::Close;
use crate::limits::Limits;
use crate::shard::context::Shared;

/// Time until the kernel is asked again whether everything has been acknowledged.
const ACKS_STEP: Duration = Duration::from_millis(150);
/// Zeros in a row that are believed. A record that had to wait for room in TCP's queue is put there
/// by a worker of the kernel's, which has been called long before the queue is empty, but may not
/// have run.
const ZEROS: u8 = 2;

impl Transport {
    /// After the handshake: from the next record boundary on the kernel is to seal, if it is wanted
    /// and can.
    pub(super) fn want_kernel(&mut self, offload: TlsOffload) {
        if let (TlsOffload::Kernel { .. }, Security::Tls(records)) = (offload, &self.security)
            && records.version() == Version::Tls13
        {
            self.ktls = KtlsState::AttachDue;
        }
    }

    /// Whether nothing is to be settled with the kernel, so that requests can be looked at.
    pub(in crate::tcp) fn is_keyed(&self) -> bool {
        self.ktls == KtlsState::Settled
            && !matches!(self.waiting, Waiting::Kernel(_))
            && !matches!(self.end_step(), Some(EndStep::Acks(_)))
    }

    /// Answers a request of the peer to change the key (RFC 8446 §4.6.3).
    pub(super) fn update_kernel(&mut self, offload: TlsOffload) {
        match offload {
            TlsOffload::Kernel { rekey: true } => self.ktls = KtlsState::UpdateDue,
            // Such a kernel keeps the first key for ever.
            TlsOffload::Kernel { rekey: false } | TlsOffload::None => {
                self.end(Close::Ours("the kernel cannot change its key"));
            }
        }
    }

    /// Counts what the kernel is given to seal.
    pub(super) fn count_for_kernel(&mut self, len: usize) {
        if let Security::Kernel(records) = &mut self.security {
            records.count_kernel_send(len);
        }
    }

    /// At a record boundary: begins what is due.
    pub(in crate::tcp) fn settle_kernel<E: Engine>(&mut self, cx: &mut Shared<E>) -> Result<(), Close> {
        if !matches!(self.waiting, Waiting::Input) || self.is_ending() {
            return Ok(());
        }
        match self.ktls {
            KtlsState::Settled => Ok(()),
            KtlsState::AttachDue => self.ask_kernel(cx, SockOpt::TlsUlp, KtlsStep::Attach),
            KtlsState::UpdateDue => {
                let Security::Kernel(records) = &mut self.security else {
                    return Err(Close::Ours("no key to update"));
                };
                let update = records.kernel_key_update();
                let (message, key) = update.map_err(|_| Close::Ours("the next key cannot be made"))?;
                self.send_record(cx, content_type::HANDSHAKE, &message)?;
                let next = kernel_key(&key)?;
                if let Waiting::Sending { next_key, .. } = &mut self.waiting {
                    *next_key = Some(next);
                }
                Ok(())
            }
        }
    }

    /// After a KeyUpdate has been sent: gives the kernel the key that it announced.
    pub(super) fn give_next_key<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        key: Box<TlsTx>,
    ) -> Result<(), Close> {
        self.ask_kernel(cx, SockOpt::TlsTx(key), KtlsStep::NextKey)
    }

    /// Sends one record of that type, which the kernel seals.
    pub(super) fn send_record<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        content_type: u8,
        message: &[u8],
    ) -> Result<(), Close> {
        let mut tx = cx.ring.take_tx().ok_or(Close::Shed)?;
        let room = tx.get_mut(..message.len()).ok_or(Close::Ours("a record longer than a buffer"))?;
        room.copy_from_slice(message);
        tx.set_filled(message.len());
        self.send(cx, SendBuf::Record(content_type, tx), false)
    }

    /// Sets an option and waits for the answer.
    fn ask_kernel<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        opt: SockOpt,
        step: KtlsStep,
    ) -> Result<(), Close> {
        cx.ring.set_opt(&self.conn, opt).map_err(|_| Close::Ours("setting an option"))?;
        self.ktls = KtlsState::Settled;
        self.wait_for_kernel(cx, step);
        Ok(())
    }

    fn wait_for_kernel<E: Engine>(&mut self, cx: &Shared<E>, step: KtlsStep) {
        self.begin_wait(Waiting::Kernel(step));
        self.arm_timeout(cx);
    }

    /// A socket option has been set, or not.
    pub(in crate::tcp) fn on_opt_set<E: Engine>(
        &mut self,
        cx: &mut Shared<E>,
        result: Result<(), Errno>,
    ) -> Result<Asked, Close> {
        let Waiting::Kernel(step) = self.waiting else { return Ok(Asked::Again) };
        match (step, &mut self.security) {
            (KtlsStep::Attach, Security::Tls(records)) => {
                // Refused after the client's FIN (ENOTCONN), or for want of memory: sealing goes on
                // here.
                if result.is_ok()
                    && let Ok(key) = records.offer_key()
                {
                    let key = kernel_key(&key)?;
                    self.ask_kernel(cx, SockOpt::TlsTx(key), KtlsStep::Key)?;
                    return Ok(Asked::Again);
                }
            }
            (KtlsStep::Key, Security::Tls(records)) => {
                records.key_taken(result.is_ok());
                if result.is_ok()
                    && let Security::Tls(records) = std::mem::replace(&mut self.security, Security::Failed)
                {
                    self.security = Security::Kernel(records);
                    cx.numbers.counts().kernel_sealed.add(1);
                }
            }
            // Without the key that was announced nothing can be sent.
            (KtlsStep::NextKey, _) => result.map_err(Close::Kernel)?,
            (KtlsStep::Attach | KtlsStep::Key | KtlsStep::Acks, _) => return Ok(Asked::Again),
        }
        self.waiting = Waiting::Input;
        Ok(Asked::Settled)
    }

    // The end.

    /// The last record is about to be sent: after it the kernel is asked until all is acknowledged.
    pub(super) fn expect_acks<E: Engine>(&mut self, cx: &Shared<E>) {
        let acks = Acks { left: usize::MAX, until: cx.now + cx.limits.send, zeros: 0 };
        self.set_end_step(EndStep::Acks(acks));
    }

    /// Asks the kernel, if it may hold records that a shutdown would destroy.
    pub(super) fn ask_for_acks<E: Engine>(&mut self, cx: &mut Shared<E>) -> Result<Asked, Close> {
        match self.end_step() {
            Some(EndStep::Acks(acks)) if acks.zeros < ZEROS => {}
            _ => return Ok(Asked::Settled),
        }
        cx.ring.unacked(&self.conn).map_err(|_| Close::Ours("asking for acknowledgements"))?;
        self.wait_for_kernel(cx, KtlsStep::Acks);
        Ok(Asked::Again)
    }

    /// The kernel has said how much has not been acknowledged.
    pub(in crate::tcp) fn on_unacked<E: Engine>(
        &mut self,
        cx: &Shared<E>,
        result: Result<usize, Errno>,
    ) -> Result<(), Close> {
        let now = result.map_err(Close::of_socket)?;
        let step = self.ending.as_mut().map(|ending| &mut ending.step);
        if let Some(EndStep::Acks(Acks { left, until, zeros })) = step {
            if now < *left {
                *until = cx.now + cx.limits.send;
            }
            *left = now.min(*left);
            *zeros = if now == 0 { *zeros + 1 } else { 0 };
        }
        // Asked again when `ACKS_STEP` has passed: see `on_kernel_timeout`.
        Ok(())
    }

    /// The time that the kernel had has passed. Nothing is waited for then, or the connection is
    /// over.
    pub(in crate::tcp) fn on_kernel_timeout(&mut self, now: Instant) -> Result<(), Close> {
        match self.end_step() {
            Some(EndStep::Acks(Acks { until, .. })) if now < *until => {
                self.waiting = Waiting::Input;
                Ok(())
            }
            _ => Err(Close::Timeout(crate::close::Timeout::Send)),
        }
    }
}

impl KtlsStep {
    /// Returns how long the kernel may take.
    pub(super) fn time_limit(self, limits: &Limits) -> Duration {
        match self {
            KtlsStep::Acks => ACKS_STEP,
            KtlsStep::Attach | KtlsStep::Key | KtlsStep::NextKey => limits.send,
        }
    }
}

/// A key in the words of the kernel.
fn kernel_key(key: &SealingKey) -> Result<Box<TlsTx>, Close> {
    let cipher = match key.aead() {
        Aead::Aes128Gcm => TlsCipher::Aes128Gcm,
        Aead::Aes256Gcm => TlsCipher::Aes256Gcm,
        Aead::ChaCha20Poly1305 => TlsCipher::ChaCha20Poly1305,
    };
    let key = TlsTx::tls13(cipher, key.key(), key.iv(), key.sequence()).map(Box::new);
    key.ok_or(Close::Ours("a key that the kernel has no words for"))
}
