//@ E0277
use sitar_io::Conn;

pub fn elsewhere(conn: Conn) {
    std::thread::spawn(move || drop(conn)); //~
}
