//! The environment as the kernel shows it of this process (`/proc/PID/environ`), which is the memory that it was started
//! with.

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    /// environ(7): the variables as the C library knows them, a null pointer after the last.
    static environ: *const *mut c_char;
}

/// What is in the name of a variable whose value nobody else shall read.
const SECRET: [&str; 6] = ["SECRET", "TOKEN", "PASSW", "KEY", "CREDENTIAL", "AUTH"];

/// Overwrites the values of the variables whose names speak of a secret, and says how many those were. Whoever needs them
/// has read them before. Does nothing once there is a second thread, which might be reading them.
pub fn overwrite_secrets() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !matches!(threads, Ok(1)) {
        return 0;
    }
    let mut overwritten = 0;
    // SAFETY: there is no other thread, so nobody changes the list or what it points to. Its variables are of the memory
    // that the process was started with, or of the heap: both can be written to.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            overwritten += usize::from(overwrite(*next));
            next = next.add(1);
        }
    }
    overwritten
}

/// Overwrites the value of `variable` if its name speaks of a secret.
///
/// # Safety
/// It is `NAME=VALUE`, ends with a zero, and can be written to.
unsafe fn overwrite(variable: *mut c_char) -> bool {
    // SAFETY: by the caller's promise.
    let bytes = unsafe { CStr::from_ptr(variable) }.to_bytes();
    let Some(end) = bytes.iter().position(|byte| *byte == b'=') else { return false };
    if !is_secret(&bytes[..end]) {
        return false;
    }
    let (start, length) = (end + 1, bytes.len() - end - 1);
    // SAFETY: the bytes between the sign and the zero.
    unsafe { std::ptr::write_bytes(variable.add(start), b'x', length) };
    true
}

fn is_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET.iter().any(|word| name.windows(word.len()).any(|part| part == word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_speak_of_a_secret_are_known() {
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "db_password",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
        for name in ["PATH", "AWS_REGION", "TASKFAULT_STATE_DIR", "ECS_CONTAINER_METADATA_URI_V4", ""] {
            assert!(!is_secret(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_value_is_overwritten_and_its_name_is_not() {
        for (variable, after) in
            [("A_TOKEN=abc=d", "A_TOKEN=xxxxx"), ("A=TOKEN", "A=TOKEN"), ("TOKEN", "TOKEN")]
        {
            let text = std::ffi::CString::new(variable).unwrap().into_raw();
            // SAFETY: a text of our own, with its zero, taken back with the same length.
            let text = unsafe {
                overwrite(text);
                std::ffi::CString::from_raw(text)
            };
            assert_eq!(text.to_str(), Ok(after));
        }
    }
}
