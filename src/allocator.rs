//! Memory where the C library is musl. Its own allocator maps and unmaps memory at every other
//! connection, so what is small comes from dlmalloc. That one gives back only the top of its heap
//! and clears all that shall be zero, so what is large comes from musl, which maps it alone: the
//! kernel gives pages only to what is written to, and has them back at once.

use dlmalloc::Dlmalloc;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static ALLOCATOR: BySize = BySize;

/// From here on musl maps memory for one allocation alone (MMAP_THRESHOLD in
/// src/malloc/mallocng/meta.h is 128 KiB). More than the largest buffer of a connection, which
/// comes and goes (`relay::buffer`).
const LARGE: usize = 144 << 10;

/// Behind the standard library's lock, which takes no memory itself. That of the crate is a
/// pthread_mutex_t, and musl's was a tenth of the work for a name that is asked for.
static SMALL: Mutex<Dlmalloc> = Mutex::new(Dlmalloc::new());

fn small() -> MutexGuard<'static, Dlmalloc> {
    SMALL.lock().unwrap_or_else(PoisonError::into_inner)
}

struct BySize;

fn is_large(size: usize) -> bool {
    size >= LARGE
}

// SAFETY: each allocation is given back to, and changed by, the allocator that it came from, since
// its layout says which that was; both keep the contract of GlobalAlloc.
#[expect(unsafe_code, reason = "an allocator cannot be written otherwise")]
unsafe impl GlobalAlloc for BySize {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size()) {
            unsafe { System.alloc(layout) }
        } else {
            unsafe { small().malloc(layout.size(), layout.align()) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size()) {
            unsafe { System.alloc_zeroed(layout) }
        } else {
            unsafe { small().calloc(layout.size(), layout.align()) }
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if is_large(layout.size()) {
            unsafe { System.dealloc(memory, layout) }
        } else {
            unsafe { small().free(memory, layout.size(), layout.align()) }
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match (is_large(layout.size()), is_large(size)) {
            (true, true) => unsafe { System.realloc(memory, layout, size) },
            (false, false) => unsafe {
                small().realloc(memory, layout.size(), layout.align(), size)
            },
            _ => unsafe {
                // The caller answers for this size with this alignment.
                let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(memory, layout.size().min(size));
                    self.dealloc(memory, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_grows_and_shrinks_across_the_border_keeps_its_bytes() {
        let mut bytes = Vec::new();
        for round in 0..4 {
            bytes.extend((0..super::LARGE * 3).map(|n| (n + round) as u8));
            bytes.truncate(1000 + round);
            bytes.shrink_to_fit();
        }
        let first: Vec<u8> = (0..1000).map(|n| n as u8).collect();
        assert_eq!(bytes[..1000], first);
        assert!(vec![0u8; 5 * super::LARGE].iter().all(|byte| *byte == 0));
    }
}
