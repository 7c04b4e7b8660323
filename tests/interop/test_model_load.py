"""The model that judges the loads: it must see every kind of mistake, and call nothing a mistake that is none."""
from base import InteropCase
from lib.model_load import Model


class Judgement(InteropCase):
    def setUp(self):
        self.model = Model(1)

    def write(self, tag, good=True):
        self.model.write(0, tag)
        self.model.wrote(0, tag, good)

    def read(self, tag):
        return self.model.got(0, self.model.read(0), tag)

    def test_last_answered_write_is_there(self):
        self.write(1)
        self.write(2)
        self.assertIsNone(self.read(2))
        self.assertIn("holds write 1", self.read(1))
        self.assertIn("holds write 0", self.read(0))

    def test_ghost_after_the_newer_one_was_seen(self):
        self.model.write(0, 1)
        self.model.write(0, 2)
        self.model.wrote(0, 1, True)
        self.model.wrote(0, 2, True)
        self.assertIsNone(self.read(2))
        self.assertIsNotNone(self.read(1))

    def test_either_of_two_that_were_in_flight_together(self):
        for seen in (1, 2):
            self.model = Model(1)
            self.model.write(0, 1)
            self.model.write(0, 2)
            self.model.wrote(0, 2, True)
            self.model.wrote(0, 1, True)
            self.assertIsNone(self.read(seen))

    def test_failed_write_may_be_there_but_rules_nothing_out(self):
        for seen in (1, 2):
            self.model = Model(1)
            self.write(1)
            self.write(2, good=False)
            self.assertIsNone(self.read(seen))
        self.write(3)
        self.assertIsNotNone(self.read(2), "a failed write landed on a newer one")

    def test_write_in_flight_during_a_read(self):
        self.write(1)
        reader = self.model.read(0)
        self.model.write(0, 2)
        self.assertIsNone(self.model.got(0, reader, 2))
        self.assertIsNone(self.read(1), "that read has decided nothing")
