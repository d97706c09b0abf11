//! A kernel that seals: when it is given the key, how it gets the next one, and when it has sent everything.
//!
//! ```text
//!   handshake's last flight sent ──▶ TCP_ULP ──▶ TLS_TX ──▶ plain text goes out, a record ends with each send
//!                                       │          │
//!                                       └──────────┴── refused: sealing goes on here
//! ```
//!
//! Nothing is sent between the offer of a key and the kernel's answer, so no nonce is used on both sides. A kernel reports a
//! send as soon as the bytes are sealed, even if TCP had no room for the record, and drops such records at a shutdown or close: so
//! before those it is asked until the peer has acknowledged everything.

use std::time::{Duration, Instant};

use sitar_io::{Engine, Errno, SendBuf, SockOpt, TlsCipher, TlsTx};
use sitar_tls::{Aead, SealingKey, Version, content_type};

use crate::TlsOffload;
use crate::limits::Limits;
use crate::shard::context::{Context, Gone};
use crate::tcp::connection::{Activity, Connection, Course};
use crate::tcp::transport::output::Layer;

/// What is to be settled with the kernel before anything else is sent.
pub(in crate::tcp) enum Keying {
    /// Nothing.
    Settled,
    /// It is to be given the key, at the next record boundary.
    Attach,
    /// Its TLS is being put under the socket.
    Ulp,
    /// It is being given the key.
    Offered,
    /// It is to be given the next key, at the next record boundary.
    Update,
    /// The KeyUpdate that announces this key is on its way.
    Updating(Box<TlsTx>),
    /// It is being given the next key.
    Next,
    /// All is said; it may still hold records.
    Draining {
        /// The least that its queue has held when it was asked.
        left: usize,
        /// When to give up, unless `left` shrinks.
        until: Instant,
        /// Zeros in a row.
        zeros: u8,
    },
}

/// How soon to ask again whether everything has been acknowledged.
const DRAIN_STEP: Duration = Duration::from_millis(150);
/// So many zeros in a row are believed: a record that had to wait for room in TCP's queue is put there by a worker of the
/// kernel's, which has been called long before the queue is empty, but may not have run.
const ZEROS: u8 = 2;

impl Connection {
    /// The handshake is over: from the next record boundary on the kernel is to seal, if it is wanted and can.
    pub(in crate::tcp) fn want_kernel(&mut self, offload: TlsOffload) {
        if let (TlsOffload::Kernel { .. }, Layer::Tls(records)) = (offload, &self.layer)
            && records.version() == Version::Tls13
        {
            self.keying = Keying::Attach;
        }
    }

    /// Whether requests can be looked at.
    pub(in crate::tcp) fn is_keyed(&self) -> bool {
        matches!(self.keying, Keying::Settled)
    }

    /// The peer wants us to change our key (RFC 8446 §4.6.3).
    pub(in crate::tcp) fn update_kernel(&mut self, offload: TlsOffload) {
        match offload {
            TlsOffload::Kernel { rekey: true } => self.keying = Keying::Update,
            // Such a kernel keeps the first key for ever.
            TlsOffload::Kernel { rekey: false } | TlsOffload::None => self.course = Course::END,
        }
    }

    /// Counts what the kernel is given to seal.
    pub(in crate::tcp) fn count_for_kernel(&mut self, len: usize) {
        if let Layer::Kernel(records) = &mut self.layer {
            records.count_kernel_send(len);
        }
    }

    /// At a record boundary: begins what is due.
    pub(in crate::tcp) fn mind_the_kernel<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if self.activity != Activity::Receiving || matches!(self.course, Course::Last { .. }) {
            return Ok(());
        }
        match self.keying {
            Keying::Attach => self.tell_kernel(cx, SockOpt::TlsUlp, Keying::Ulp),
            Keying::Update => {
                let Layer::Kernel(records) = &mut self.layer else { return Err(Gone) };
                let (message, key) = records.kernel_key_update().map_err(|_| Gone)?;
                self.keying = Keying::Updating(told(&key).ok_or(Gone)?);
                self.send_record(cx, content_type::HANDSHAKE, &message)
            }
            _ => Ok(()),
        }
    }

    /// After a send: if it was a KeyUpdate, the kernel is given the key that it announced.
    pub(in crate::tcp) fn give_next_key<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<bool, Gone> {
        match std::mem::replace(&mut self.keying, Keying::Settled) {
            Keying::Updating(key) => {
                self.tell_kernel(cx, SockOpt::TlsTx(key), Keying::Next)?;
                Ok(true)
            }
            other => {
                self.keying = other;
                Ok(false)
            }
        }
    }

    /// Sends one record of that type, which the kernel seals.
    pub(in crate::tcp) fn send_record<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        content_type: u8,
        message: &[u8],
    ) -> Result<(), Gone> {
        let mut tx = cx.ring.take_tx().ok_or(Gone)?;
        tx.get_mut(..message.len()).ok_or(Gone)?.copy_from_slice(message);
        tx.set_filled(message.len());
        self.send(cx, SendBuf::Record(content_type, tx), false)
    }

    /// Sets an option; `keying` is what its answer is to.
    fn tell_kernel<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        opt: SockOpt,
        keying: Keying,
    ) -> Result<(), Gone> {
        cx.ring.set_opt(&self.conn, opt).map_err(|_| Gone)?;
        self.keying = keying;
        self.wait_for_kernel(cx);
        Ok(())
    }

    fn wait_for_kernel<E: Engine>(&mut self, cx: &Context<'_, E>) {
        self.activity = Activity::Kernel;
        self.waits += 1;
        self.be_patient(cx);
    }

    /// A socket option has been set, or not.
    pub(crate) fn on_opt_set<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        result: Result<(), Errno>,
    ) -> Result<(), Gone> {
        match (std::mem::replace(&mut self.keying, Keying::Settled), &mut self.layer) {
            (Keying::Ulp, Layer::Tls(records)) => {
                // Refused after the client's FIN (ENOTCONN), or for want of memory: sealing goes on here.
                if result.is_ok()
                    && let Ok(key) = records.offer_key()
                {
                    let told = told(&key).ok_or(Gone)?;
                    return self.tell_kernel(cx, SockOpt::TlsTx(told), Keying::Offered);
                }
            }
            (Keying::Offered, Layer::Tls(records)) => {
                records.key_taken(result.is_ok());
                if result.is_ok()
                    && let Layer::Tls(records) = std::mem::replace(&mut self.layer, Layer::Plain)
                {
                    self.layer = Layer::Kernel(records);
                    cx.counts.kernel_sealed += 1;
                }
            }
            // Without the key that was announced nothing can be sent.
            (Keying::Next, _) => result.map_err(|_| Gone)?,
            (other, _) => {
                self.keying = other;
                return Ok(());
            }
        }
        self.activity = Activity::Receiving;
        self.go_on(cx)
    }

    // The end.

    /// The last record is about to be sent: after it, the kernel is asked until all has been acknowledged.
    pub(in crate::tcp) fn drain_kernel<E: Engine>(&mut self, cx: &Context<'_, E>) {
        self.keying = Keying::Draining { left: usize::MAX, until: cx.now + cx.limits.send, zeros: 0 };
    }

    /// Whether the kernel may hold records that a shutdown would destroy; asks it.
    pub(in crate::tcp) fn is_kernel_busy<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
    ) -> Result<bool, Gone> {
        let Keying::Draining { zeros, .. } = self.keying else { return Ok(false) };
        if zeros >= ZEROS {
            return Ok(false);
        }
        cx.ring.unacked(&self.conn).map_err(|_| Gone)?;
        self.wait_for_kernel(cx);
        Ok(true)
    }

    /// So much has not been acknowledged.
    pub(crate) fn on_unacked<E: Engine>(
        &mut self,
        cx: &mut Context<'_, E>,
        result: Result<usize, Errno>,
    ) -> Result<(), Gone> {
        let now = result.map_err(|_| Gone)?;
        if let Keying::Draining { left, until, zeros } = &mut self.keying {
            if now < *left {
                *until = cx.now + cx.limits.send;
            }
            *left = now.min(*left);
            *zeros = if now == 0 { *zeros + 1 } else { 0 };
        }
        // Asked again when `DRAIN_STEP` has passed: see `on_kernel_late`.
        Ok(())
    }

    /// The time that the kernel had is over.
    pub(in crate::tcp) fn on_kernel_late<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        match self.keying {
            Keying::Draining { until, .. } if cx.now < until => {
                self.activity = Activity::Receiving;
                self.settle(cx)
            }
            _ => Err(Gone),
        }
    }

    /// How long the kernel may take.
    pub(in crate::tcp) fn kernel_patience(&self, limits: &Limits) -> Duration {
        match self.keying {
            Keying::Draining { .. } => DRAIN_STEP,
            _ => limits.send,
        }
    }
}

/// A key in the words of the kernel.
fn told(key: &SealingKey) -> Option<Box<TlsTx>> {
    let cipher = match key.aead() {
        Aead::Aes128Gcm => TlsCipher::Aes128Gcm,
        Aead::Aes256Gcm => TlsCipher::Aes256Gcm,
        Aead::ChaCha20Poly1305 => TlsCipher::ChaCha20Poly1305,
    };
    TlsTx::tls13(cipher, key.key(), key.iv(), key.sequence()).map(Box::new)
}
